"""What the command fetches before its child, which has no network, begins: the source, and the base of an adapter."""

from __future__ import annotations

import json
from types import SimpleNamespace

from slipway.cli import conversion_run
from slipway.cli.confined.limits import Limits
from slipway.cli.confined.messages import Job
from slipway.cli.conversion_run import ConversionRun, run_conversion
from slipway.cli.convert_flags import parse
from slipway.cli.jobs import convert as work


def fetched_by(run, monkeypatch, hub):
    """Return the job that the child gets, and the ids that were fetched before."""
    jobs, ids = [], []

    def locate(source, _steps, *, verbose):
        assert not verbose
        ids.append(source)
        return hub[source], f"{source} at revision 1"

    monkeypatch.setattr(conversion_run, "locate", locate)
    monkeypatch.setattr(conversion_run, "run_job", lambda job, *_, **__: jobs.append(job) or "")
    run_conversion(Job("m", ("words",)), run, lambda _: None)
    return jobs[0], ids


def run_of(source, tmp_path, base=""):
    limits = Limits.of(parse([str(source), "--name", "m", "--repository", str(tmp_path)], warn=False))
    return ConversionRun(str(source), tmp_path, limits, base=base)


def test_the_base_of_an_adapter_is_fetched_beside_it(tmp_path, monkeypatch):
    adapter, base = tmp_path / "adapter", tmp_path / "base"
    for each in (adapter, base):
        each.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    hub = {"owner/adapter": adapter, "owner/base": base, "owner/other": base}
    job, ids = fetched_by(run_of("owner/adapter", tmp_path), monkeypatch, hub)
    assert ids == ["owner/adapter", "owner/base"]
    assert (job.source, job.base) == (str(adapter), str(base))
    job, ids = fetched_by(run_of(adapter, tmp_path, "owner/other"), monkeypatch, hub)
    assert (ids, job.source, job.base) == (["owner/other"], "", str(base))
    job, ids = fetched_by(run_of(adapter, tmp_path, str(base)), monkeypatch, hub)
    assert (ids, job.base) == ([], "")
    job, ids = fetched_by(run_of(base, tmp_path, "owner/base"), monkeypatch, hub)  # refused by the child
    assert (ids, job.base) == ([], "")


def test_the_child_merges_into_the_base_that_was_fetched(tmp_path, monkeypatch):
    bases = []

    def convert(_source, options, *_, **__):
        bases.append(options.base)
        raise InterruptedError

    monkeypatch.setattr(work, "convert", convert)
    words = ("adapter", "--name", "m", "--repository", str(tmp_path), "--base", "owner/base")
    for base in ("", str(tmp_path)):
        try:
            work.work(Job("m", words, base=base), SimpleNamespace(step=None, stage=None))
        except InterruptedError:
            continue
    assert bases == ["owner/base", str(tmp_path)]
