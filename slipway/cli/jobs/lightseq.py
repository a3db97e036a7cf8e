"""The work of `slipway lightseq export`: read the model, write the file, and return what the command prints."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from slipway.checkpoints.lightseq.export import Exported, export, output_path
from slipway.checkpoints.lightseq.model_entry import write_config
from slipway.cli.confined.child import warn_of_network
from slipway.cli.confined.console import Console
from slipway.cli.confined.messages import Job
from slipway.cli.lightseq_flags import export_options, parse


def work(job: Job, console: Console) -> str:
    """Export to the repository's new entry, or to the file that the options name."""
    warn_of_network(job, console)
    given = parse(job.words)
    asked = export_options(given)
    target = output_path(asked).parent if given.repository is None else given.repository / given.name
    with console.stage([str(target)]) as directory:
        exported = export(replace(asked, directory=directory))
        if given.repository is not None:
            write_config(directory, exported.path.name, exported.conf)
        text = _summary(exported, target)
    if given.repository is None:
        return text
    return f"{text}\nnext: slipway check {given.repository} && slipway serve {given.repository}"


def _summary(exported: Exported, target: Path) -> str:
    conf = exported.conf
    size = exported.path.stat().st_size / 1e6
    method = f", {conf.sampling_method}" if conf.sampling_method else ""
    written = target / exported.path.name
    return f"wrote {written}: {conf.model_type}, {size:.1f} MB, up to {conf.max_step} tokens{method}"
