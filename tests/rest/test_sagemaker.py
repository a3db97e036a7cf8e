"""SageMaker's routes: /ping, /invocations and the contract of multi-model endpoints."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from slipway.config.options import parse_options
from slipway.config.restrictions import GROUPS, by_group
from slipway.errors import Code, SlipwayError, invalid
from slipway.rest.context import RestOptions
from slipway.rest.sagemaker import SagemakerSettings, build_sagemaker_app, sagemaker_settings
from slipway.rest.sagemaker_models import MultiModel, is_out_of_memory, read_archive
from tests.kits.repositories import write_config
from tests.rest.conftest import serve
from tests.rest.models import dataplane

BINARY = "application/vnd.sagemaker-triton.binary+json;json-header-size="
BODY = json.dumps({"inputs": [{"name": "IN0", "shape": [1, 2], "datatype": "FP32", "data": [1, 2]}]}).encode()
IDENTITY = 'backend: "identity"\n'


class MemoryHost:
    """Loads nothing, and remembers what it should have; a model called `large` needs more memory than there is."""

    def __init__(self) -> None:
        self.served: dict[str, Path] = {}

    def is_served(self, name):
        return name in self.served

    async def load(self, directories):
        if "large" in directories:
            raise invalid("load failed for model 'large': CUDA out of memory")
        if "broken" in directories:
            raise invalid("load failed for model 'broken'")
        if self.served.keys() & directories.keys():
            raise SlipwayError(Code.ALREADY_EXISTS, "already registered")
        self.served |= directories

    async def unload(self, names):
        for name in names:
            del self.served[name]


@pytest.fixture
def root(tmp_path):
    """Four archives: a model, a folder with a model, an ensemble with its parts, and two models."""
    write_config(tmp_path / "one", "model", IDENTITY)
    write_config(tmp_path / "two" / "model", "inner", IDENTITY)
    for name in ("head", "tail"):
        write_config(tmp_path / "many" / "model", name, IDENTITY)
        write_config(tmp_path / "pair" / "model", name, IDENTITY)
    write_config(tmp_path / "many" / "model", "chain", 'platform:"ensemble"\n')
    return tmp_path


def app(plane, host, root, settings=None, options=None):
    settings = settings or SagemakerSettings(model="echo")
    return build_sagemaker_app(plane, settings, MultiModel(host, root).route, options)


@pytest.fixture
def sagemaker(root):
    plane = dataplane()
    with serve(plane, app(plane, MemoryHost(), root)) as running:
        yield running


def post(running, path, document, **headers):
    return running.ask("POST", path, json.dumps(document).encode(), **headers)


# One model


def test_ping_is_readiness_or_liveness(root):
    plane = dataplane()
    plane.is_ready = False
    for ping, status in (("ready", 400), ("live", 200)):
        with serve(plane, app(plane, MemoryHost(), root, SagemakerSettings(ping=ping))) as running:
            answer = running.ask("GET", "/ping")
            assert (answer.status, answer.body) == (status, b"")


def test_an_invocation_asks_the_default_model(sagemaker):
    assert json.loads(sagemaker.ask("POST", "/invocations", BODY).body)["outputs"][0]["data"] == [1.0, 2.0]
    assert sagemaker.ask("GET", "/invocations").status == 405


def test_binary_tensors_have_the_size_in_the_content_type(sagemaker):
    head = json.dumps(
        {
            "inputs": [{"name": "IN0", "shape": [1, 2], "datatype": "FP32", "parameters": {"binary_data_size": 8}}],
            "parameters": {"binary_data_output": True},
        }
    ).encode()
    raw = b"\0\0\x80?\0\0\0@"
    answer = sagemaker.ask("POST", "/invocations", head + raw, Content_Type=f"{BINARY}{len(head)}")
    size = int(answer.headers["Content-Type"].removeprefix(BINARY))
    assert (answer.body[size:], json.loads(answer.body[:size])["model_name"]) == (raw, "echo")


@pytest.mark.parametrize(
    "given", [f"extra/{BINARY}5", f"{BINARY}text5", f"{BINARY}-123", f"{BINARY}12345", f"{BINARY}2147483648"]
)
def test_a_malformed_size_is_a_bad_request(sagemaker, given):
    assert sagemaker.ask("POST", "/invocations", BODY, Content_Type=given).status == 400


@pytest.mark.parametrize(("kind", "model"), [("generate", "text"), ("generate_stream", "count")])
def test_an_invocation_may_generate(root, kind, model):
    plane = dataplane()
    settings = SagemakerSettings(inference=kind, model=model)
    with serve(plane, app(plane, MemoryHost(), root, settings)) as running:
        answer = post(running, "/invocations", {"IN0": "a" if model == "text" else 1})
    assert answer.status == 200
    assert answer.body.startswith(b"data: " if kind == "generate_stream" else b"{")


@pytest.mark.parametrize("path", ["/", "/v2", "/ping/", "/Ping", "//ping", "/invocations/", "/models/a/b", "/modelsx"])
def test_other_paths_are_bad_requests(sagemaker, path):
    answer = sagemaker.ask("POST", path, b"")
    assert (answer.status, answer.body) == (400, b"")


def test_the_settings_come_from_the_environment():
    environment = {
        "SAGEMAKER_TRITON_PING_MODE": "live",
        "SAGEMAKER_TRITON_INFERENCE_TYPE": "generate",
        "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": "m",
    }
    assert sagemaker_settings(environment) == SagemakerSettings("live", "generate", "m")
    assert sagemaker_settings({}).model == "unspecified_SAGEMAKER_TRITON_DEFAULT_MODEL_NAME"


@pytest.mark.parametrize("name", ["SAGEMAKER_TRITON_PING_MODE", "SAGEMAKER_TRITON_INFERENCE_TYPE"])
def test_an_unknown_setting_is_named(name):
    with pytest.raises(SlipwayError, match=f"{name}: invalid value 'generate_streams'. Must be one of: "):
        sagemaker_settings({name: "generate_streams"})


# Many models


def load(running, root, name, folder, **headers):
    return post(running, "/models", {"model_name": name, "url": str(root / folder / "model")}, **headers).status


def test_models_are_loaded_listed_described_and_unloaded(sagemaker, root):
    assert json.loads(sagemaker.ask("GET", "/models").body) == {"models": []}
    assert load(sagemaker, root, "hash1", "one", X_Amzn_SageMaker_Target_Model="echo") == 200
    assert load(sagemaker, root, "text", "two") == 200
    first = {"modelName": "hash1", "modelUrl": str(root / "one")}
    second = {"modelName": "text", "modelUrl": str(root / "two" / "model")}
    assert json.loads(sagemaker.ask("GET", "/models/").body) == {"models": [first, second]}
    assert json.loads(sagemaker.ask("GET", "/models/hash1").body) == first
    assert sagemaker.ask("DELETE", "/models/hash1").status == 200
    assert sagemaker.ask("GET", "/models/hash1").status == 404
    assert json.loads(sagemaker.ask("GET", "/models").body) == {"models": [second]}


def test_an_invocation_reaches_only_a_model_that_was_loaded_here(sagemaker, root):
    assert sagemaker.ask("POST", "/models/echo/invoke", BODY).status == 404
    assert load(sagemaker, root, "hash1", "one", X_Amzn_SageMaker_Target_Model="echo") == 200
    answer = sagemaker.ask("POST", "/models/hash1/invoke", BODY, X_Amzn_SageMaker_Target_Model="text")
    assert json.loads(answer.body)["model_name"] == "echo"


def test_a_name_is_taken_once(sagemaker, root):
    assert load(sagemaker, root, "a", "one") == 200
    assert load(sagemaker, root, "a", "two") == 409
    assert load(sagemaker, root, "b", "two", X_Amzn_SageMaker_Target_Model="a") == 409


@pytest.mark.parametrize(("name", "status"), [("large", 507), ("broken", 400)])
def test_a_lack_of_memory_has_a_status_of_its_own(sagemaker, root, name, status):
    assert load(sagemaker, root, name, "one") == status
    assert sagemaker.ask("GET", f"/models/{name}").status == 404


@pytest.mark.parametrize(
    "document",
    [{}, {"model_name": "a"}, {"url": "/x"}, {"model_name": 1, "url": "/x"}, {"model_name": "", "url": "/x"}],
)
def test_a_load_names_a_model_and_a_directory(sagemaker, document):
    answer = post(sagemaker, "/models", document)
    assert (answer.status, json.loads(answer.body)["error"]) == (
        400,
        "a load request needs the strings 'model_name' and 'url'",
    )


@pytest.mark.parametrize(
    ("method", "path"), [("DELETE", "/models/x"), ("GET", "/models/x"), ("POST", "/models/x/invoke")]
)
def test_an_unknown_model_is_not_found(sagemaker, method, path):
    assert sagemaker.ask(method, path).status == 404


def test_a_load_that_is_not_json_is_a_bad_request(sagemaker):
    assert sagemaker.ask("POST", "/models", b"{").status == 400


def test_an_archive_is_a_model_or_one_model_or_an_ensemble(root):
    one = read_archive(str(root / "one/model"), "a", root)
    assert (one.models, one.repository) == ({"a": root / "one/model"}, root / "one")
    two = read_archive(f"{root}/two/./model//", "b", root)
    assert (two.models, two.repository) == ({"b": root / "two/model/inner"}, root / "two/model")
    many = read_archive(str(root / "many/model"), "c", root)
    inner = root / "many/model"
    assert many.models == {"c": inner / "chain", "head": inner / "head", "tail": inner / "tail"}
    assert many.main == "c"


@pytest.mark.parametrize(
    ("url", "name", "message"),
    [
        ("pair/model", "a", "it contains 2 models and 0 ensembles, not one model or one ensemble"),
        ("many/model", "head", "a part of its ensemble is called 'head' too"),
        ("absent", "a", "repository not found"),
        ("one/../..", "a", "it is not a directory below"),
        (".", "a", "it is not a directory below"),
        ("a\0b", "a", "repository not found"),
    ],
)
def test_any_other_directory_is_refused(root, url, name, message):
    with pytest.raises(SlipwayError, match="failed to register") as caught:
        read_archive(f"{root}/{url}", name, root)
    assert message in caught.value.message


@pytest.mark.parametrize("url", ["/dev/fd", "/proc/self/root", "/etc", "relative", "", "../x"])
def test_no_directory_elsewhere_is_read(root, url):
    with pytest.raises(SlipwayError, match="it is not a directory below"):
        read_archive(url, "a", root)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("CUDA out of memory. Tried to allocate", True),
        ("the server does not have enough memory for this request; try again later", True),
        ("OOM when allocating", True),
        ("a bathroom model", False),
    ],
)
def test_a_lack_of_memory_is_recognised(message, expected):
    assert is_out_of_memory(message) is expected


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/ping"),
        ("POST", "/invocations"),
        ("GET", "/models"),
        ("POST", "/models"),
        ("GET", "/models/a"),
        ("DELETE", "/models/a"),
        ("POST", "/models/a/invoke"),
    ],
)
def test_every_route_needs_the_key(root, method, path):
    plane = dataplane()
    flags = parse_options(["models", f"--http-restricted-api={','.join(GROUPS)}:X-SM-Auth=secret"], {})
    options = RestOptions(restrictions=by_group(flags.http_restricted_api))
    with serve(plane, app(plane, MemoryHost(), root, options=options)) as running:
        answer = running.ask(method, path, b"{}")
        text = json.loads(answer.body)["error"]
        assert (answer.status, text) == (403, "This API is restricted, expecting header 'X-SM-Auth'")
        assert running.ask(method, path, b"{}", X_SM_Auth="wrong").status == 403
        assert running.ask(method, path, b"{}", X_SM_Auth="secret").status != 403
