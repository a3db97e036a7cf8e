"""What the page reads of a server: its settings, its models, reports of conversions, metrics."""

from __future__ import annotations

import json
import os

import pytest

from slipway.api_keys import ApiKeys, key_digest
from slipway.config.options import parse_options
from slipway.config.restrictions import by_group
from slipway.engine.api import IndexEntry
from slipway.rest.app import HEALTH_PATHS, build_app
from slipway.rest.context import RestOptions
from slipway.rest.fronts import rest_fronts
from slipway.rest.key_guard import require_key
from slipway.rest.page.build import build_page
from slipway.rest.page.page import Page
from tests.kits.memory_dataplane import Model, echo, signature
from tests.rest.conftest import serve
from tests.rest.models import dataplane
from tests.rest.page.conftest import FILES, paged

TALKER = {
    "SLIPWAY_TASK": "text-generation",
    "SLIPWAY_CHAT_TEMPLATE": "chat_template.jinja",
    "SLIPWAY_STREAM": "talker-stream",
    "SLIPWAY_COMPLETIONS": "talker-completions",
    "ENGINE": "ctranslate2",
    "COMPUTE_TYPE": "int8",
}
REPORT = {
    "source": "/home/somebody/checkpoint",
    "source_sha256": "abc",
    "reproduce": "slipway convert /home/somebody/checkpoint",
    "task": "embedding",
    "chosen": "openvino bf16",
    "why": "the fastest",
    "candidates": [{"label": "openvino bf16", "status": "chosen", "figures": {"cosine": 1.0}, "bytes": 5, "new": 1}],
}


def read(running, path, **headers):
    answer = running.ask("GET", path, **headers)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.status != 200 or (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == (
        "nosniff",
        "no-store",
    )
    return answer.status, json.loads(answer.body)


def listed(*models, index=None):
    with paged(models=models, index=index or [IndexEntry(m.signature.model_name, "1", "READY") for m in models]) as it:
        return {each["name"]: each for each in read(it, "/ui/models")[1]["models"]}


def test_the_settings_are_what_the_page_has_to_know(served):
    assert read(served, "/ui/settings") == (
        200,
        {
            "name": "slipway",
            "version": "1.2.3",
            "control": "none",
            "openai": True,
            "explains": True,
            "metrics": True,
            "why_no_metrics": "",
            "grpc": {"port": 8001, "tls": True},
        },
    )


def test_models_have_their_states_and_reasons(served):
    _, document = read(served, "/ui/models")
    models = {each["name"]: each for each in document["models"]}
    assert list(models) == ["bare", "broken", "echo"]
    assert models["bare"]["versions"] == []
    assert (models["broken"]["state"], models["broken"]["versions"]) == (
        "UNAVAILABLE",
        [{"version": "1", "state": "UNAVAILABLE", "reason": "it does not load"}],
    )
    assert (models["echo"]["state"], models["echo"]["platform"]) == ("READY", "identity")


def test_a_model_says_what_it_is_for_and_of_what_it_is_made():
    text = ("text BYTES 1", "generated_text BYTES 1")
    models = listed(
        Model(signature("talker", *text, batch=4), echo, TALKER),
        Model(signature("talker-stream", *text, batch=4, decoupled=True), echo),
        Model(signature("plain", "IN0 FP32 -1", "OUT0 FP32 -1"), echo),
    )
    talker = models["talker"]
    assert (talker["task"], talker["use"], talker["chat"], talker["stream"]) == (
        "text-generation", "generate", True, "talker-stream",
    )  # fmt: skip
    assert talker["engine"] == {"backend": "identity", "engine": "ctranslate2", "precision": "int8"}
    assert talker["parts"] == ["talker-completions", "talker-stream"]
    assert [models[name]["is_part"] for name in ("talker", "talker-stream", "plain")] == [False, True, False]
    assert (models["plain"]["task"], models["plain"]["chat"], models["talker-stream"]["decoupled"]) == ("", False, True)


def test_versions_of_a_model_are_one_entry():
    model = Model(signature("m", "IN0 FP32 -1", "OUT0 FP32 -1"), echo)
    index = [IndexEntry("m", str(at), state) for at, state in enumerate(("UNAVAILABLE", "LOADING", "READY"), 1)]
    for count, state in ((3, "READY"), (2, "LOADING"), (1, "UNAVAILABLE")):
        found = listed(model, index=index[:count])["m"]
        assert (found["state"], len(found["versions"])) == (state, count)


def test_names_of_several_namespaces_are_told_apart():
    index = [IndexEntry("gone", "1", "READY", namespace=each) for each in ("a", "b")]
    with paged(index=index) as running:
        models = read(running, "/ui/models")[1]["models"]
    assert [(each["namespace"], each["platform"]) for each in models] == [("a", ""), ("b", "")]


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "echo" / "1").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def report(repository):
    """A function that serves the model `echo`, and returns its report."""

    def ask():
        with paged(files={"echo": repository / "echo" / "1"}) as running:
            return read(running, "/ui/models/echo/report")

    return ask


def test_a_report_is_shown_without_paths_and_commands(report, repository):
    (repository / "echo" / "report.json").write_text(json.dumps(REPORT))
    status, document = report()
    assert (status, document["model"], document["problem"]) == (200, "echo", "")
    assert document["report"]["chosen"] == "openvino bf16"
    assert document["report"]["candidates"][0]["figures"] == {"cosine": 1.0}
    assert "somebody" not in json.dumps(document)
    assert "new" not in document["report"]["candidates"][0]


def test_a_model_without_a_report_has_none(report):
    assert report() == (200, {"model": None, "report": None, "problem": ""})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"task": 1, "chosen": ""}', '{"task": "embedding"}', "[" * 100_000, "\x80"]
)
def test_a_report_that_cannot_be_read_has_a_problem(report, repository, text):
    (repository / "echo" / "report.json").write_bytes(text.encode("latin-1"))
    status, document = report()
    assert (status, document["report"], bool(document["problem"])) == (200, None, True)


def test_no_file_but_the_report_is_read(report, repository):
    file = repository / "echo" / "report.json"
    (repository / "other.json").write_text(json.dumps(REPORT))
    file.symlink_to(repository / "other.json")
    assert report()[1]["problem"].startswith("it cannot be read")
    file.unlink()
    os.mkfifo(file)
    assert report()[1]["problem"].startswith("it cannot be read")
    file.unlink()
    file.mkdir()
    assert report()[1]["problem"].startswith("it cannot be read")
    file.rmdir()
    with file.open("wb") as large:
        large.truncate((1 << 20) + 1)
    assert report()[1]["problem"].startswith("it cannot be read")


def test_only_models_have_reports(served):
    for name in ("nope", "..", "%2e%2e", "..%2f..%2fetc", "%00"):
        status, document = read(served, f"/ui/models/{name}/report")
        assert (status, "unknown model" in document["error"]) == (404, True)


def test_metrics_are_those_of_the_metrics_port(served):
    answer = served.ask("GET", "/ui/metrics")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "text/plain; charset=utf-8")
    assert b"nv_inference_request_success{" in answer.body


def test_without_metrics_there_is_a_reason():
    with paged(page=Page(FILES, why_no_metrics="they are off")) as running:
        assert read(running, "/ui/metrics") == (404, {"error": "they are off"})
        assert read(running, "/ui/settings")[1]["why_no_metrics"] == "they are off"


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        ([], ""),
        (["--metrics-address=127.0.0.1"], ""),
        (["--http-address=0.0.0.0", "--metrics-address=0.0.0.0"], ""),
        (["--http-address=0.0.0.0", "--metrics-address=127.0.0.1"], "--metrics-address"),
        (["--allow-metrics=false"], "--allow-metrics=false"),
    ],
)
def test_metrics_are_shown_where_they_are_no_harder_to_reach(flags, reason):
    page = build_page(parse_options(["models", *flags], {}), lambda _: None, None)
    assert (page.metrics is None) == bool(reason)
    assert reason in page.why_no_metrics
    assert page.grpc is None


def test_a_server_without_the_page_has_no_route_of_it():
    plane = dataplane()
    with serve(plane, build_app(plane, RestOptions())) as running:
        for path in ("/", "/ui/app.js", "/ui/models", "/ui/settings", "/ui/metrics", "/ui/models/echo/report"):
            assert running.ask("GET", path).status == 404


@pytest.mark.parametrize(
    ("group", "paths"),
    [
        ("metadata", ["/ui/settings"]),
        ("model-repository", ["/ui/models"]),
        ("model-config", ["/ui/models", "/ui/models/echo/report"]),
        ("statistics", ["/ui/metrics"]),
    ],
)
def test_a_restricted_group_needs_its_header_here_too(group, paths):
    every = {"/", "/ui/app.js", "/ui/settings", "/ui/models", "/ui/models/echo/report", "/ui/metrics"}
    flags = parse_options(["models", f"--http-restricted-api={group}:X-Admin=open"], {})
    with paged(files={}, restrictions=by_group(flags.http_restricted_api)) as running:
        refused = {path for path in every if running.ask("GET", path).status == 403}
        assert refused == set(paths)
        assert "expecting header 'X-Admin'" in running.ask("GET", paths[0]).body.decode()
        assert all(running.ask("GET", path, X_Admin="open").status != 403 for path in paths)


def test_only_the_files_are_open_without_a_key():
    plane = dataplane()
    app = build_app(plane, RestOptions(page=Page(FILES)))
    with serve(plane, require_key(app, ApiKeys([key_digest("secret")]), HEALTH_PATHS | FILES.keys())) as running:
        assert {running.ask("GET", path.decode()).status for path in FILES} == {200}
        for path in ("/ui/settings", "/ui/models", "/ui/models/echo/report", "/ui/metrics", "/ui/nothing", "/ui/"):
            assert running.ask("GET", path).status == 401
            assert running.ask("GET", path, X_API_Key="secret").status != 401
        assert running.ask("GET", "/ui/../v2").status == 401


@pytest.mark.parametrize(("flags", "is_there"), [([], True), (["--no-ui"], False), (["--ui=false"], False)])
def test_the_flag_leaves_the_page_out(flags, is_there):
    from slipway.core.budget import Budget

    options = parse_options(["models", "--allow-metrics=false", "--api-key=secret", *flags], {})
    plane = dataplane()
    (front,) = rest_fronts(plane, None, options, Budget(1 << 20), options.api_keys(), {}, grpc_port=5)
    with serve(plane, front.listener._handler) as running:
        assert running.ask("GET", "/").status == (200 if is_there else 401)
        settings = running.ask("GET", "/ui/settings", X_API_Key="secret")
    assert settings.status == (200 if is_there else 404)
    if is_there:
        assert json.loads(settings.body)["grpc"] == {"port": 5, "tls": False}
