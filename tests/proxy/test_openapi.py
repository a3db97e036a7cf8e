"""The OpenAPI description says what bodies a model takes, with examples that it takes."""

from __future__ import annotations

import json

import pytest

from slipway.datatypes import BY_NAME
from slipway.proxy.body import RoutedModel, encode_body
from slipway.proxy.description import ProxiedModel, TensorDescription
from slipway.proxy.document import DOCUMENT_ROUTES
from slipway.proxy.openapi import add_models


def tensor(name: str, datatype: str, *shape: int, optional: bool = False) -> TensorDescription:
    return TensorDescription(name, BY_NAME[datatype], shape, optional)


def model(name: str, *inputs: TensorDescription, rows: int = 8, decoupled: bool = False) -> RoutedModel:
    output = tensor("out", "FP32", -1, 3)
    return RoutedModel(ProxiedModel(name, ("1",), "onnx", inputs, (output,), rows, decoupled))


def described(*models: RoutedModel) -> dict:
    document = add_models({"paths": {"/health": {}}, "components": {"schemas": {"Health": {}}}}, models)
    return json.loads(json.dumps(document))


def request_schema(document: dict, path: str) -> dict:
    content = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
    return document["components"]["schemas"][content["schema"]["$ref"].rpartition("/")[2]]


def test_fields_have_types_shapes_and_names():
    given = (tensor("text", "BYTES", -1, 1), tensor("top_k", "INT32", -1, 1, optional=True))
    schema = request_schema(described(model("m", *given)), "/models/m")
    assert schema["title"] == "m request"
    assert schema["required"] == ["text"]
    assert list(schema["properties"]) == ["text", "top_k", "parameters"]
    assert schema["properties"]["text"]["description"] == "BYTES [any, 1]"
    assert schema["properties"]["top_k"]["description"] == "INT32 [any, 1], optional"
    forms = [form["type"] for form in schema["properties"]["text"]["anyOf"]]
    assert forms == ["array", "array", "string", "object"]
    assert schema["example"] == {"text": "text"}


@pytest.mark.parametrize(
    "given",
    [
        tensor("x", "BYTES", -1, 1),
        tensor("x", "BYTES", -1, -1),
        tensor("x", "INT64", -1, -1),
        tensor("x", "FP32", -1, 2, 2),
        tensor("x", "BOOL", -1, 1),
        tensor("x", "UINT8", 1),
        tensor("x", "FP16", -1),
    ],
    ids=lambda each: f"{each.datatype.name}-{len(each.shape)}",
)
def test_examples_are_accepted(given):
    served = model("m", given)
    example = request_schema(described(served), "/models/m")["example"]
    assert encode_body(served, example, "id", size=1).message


def test_the_example_of_a_large_tensor_is_short():
    schema = request_schema(described(model("m", tensor("image", "UINT8", -1, 640, 640, 3))), "/models/m")
    assert schema["example"] == {"image": {"b64": "..."}}


def test_a_stream_is_described_as_events():
    document = described(model("m", tensor("x", "FP32", 1), decoupled=True))
    assert list(document["paths"]["/models/m"]["post"]["responses"]["200"]["content"]) == ["text/event-stream"]


def test_the_applications_fields_are_described():
    served = [RoutedModel(route.model, route) for route in DOCUMENT_ROUTES.values()]
    document = described(*served)
    assert "trt_model" in request_schema(document, "/models/finbert-model")["properties"]
    reference = document["paths"]["/models/simple_net"]["post"]["responses"]["200"]["content"]["application/json"]
    name = reference["schema"]["$ref"].rpartition("/")[2]
    assert list(document["components"]["schemas"][name]["properties"]) == ["prediction"]


def test_names_of_models_are_quoted_in_paths_and_kept_out_of_references():
    document = described(model('a/b "<script>', tensor("x", "FP32", 1)))
    (path,) = set(document["paths"]) - {"/health"}
    assert path == "/models/a%2Fb%20%22%3Cscript%3E"
    assert set(document["components"]["schemas"]) == {"Health", "Failure", "RefusedBody", "Request0", "Response0"}


def test_an_input_may_be_called_parameters():
    schema = request_schema(described(model("m", tensor("parameters", "FP32", -1, 1))), "/models/m")
    assert schema["properties"]["parameters"]["description"] == "FP32 [any, 1]"
