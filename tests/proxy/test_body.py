"""Bodies become calls of ModelInfer: the fields are a closed world, and refusals have FastAPI's form."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import BaseModel, ValidationError
from tritonclient.grpc import service_pb2

from slipway.datatypes import BY_NAME
from slipway.proxy.body import RoutedModel, encode_body, read_fields
from slipway.proxy.description import ProxiedModel, TensorDescription
from slipway.proxy.document import DOCUMENT_ROUTES
from slipway.proxy.failures import RefusedBody

TEXT = TensorDescription("text", BY_NAME["BYTES"], (-1, 1))
LIMIT = TensorDescription("limit", BY_NAME["INT32"], (-1, 1), optional=True)
MODEL = RoutedModel(ProxiedModel("m", ("1",), "", (TEXT, LIMIT), (), max_batch_size=8))


def call(model: RoutedModel, body: object) -> service_pb2.ModelInferRequest:
    data = json.dumps(body).encode()
    return service_pb2.ModelInferRequest.FromString(encode_body(model, read_fields(data), "id", size=len(data)).message)


def refusal(model: RoutedModel, body: bytes) -> list[dict[str, Any]]:
    with pytest.raises(RefusedBody) as caught:
        encode_body(model, read_fields(body), "id", size=len(body))
    return json.loads(caught.value.body(len(body)))["detail"]


def document(name: str) -> RoutedModel:
    route = DOCUMENT_ROUTES[name]
    return RoutedModel(route.model, route)


def test_a_call_has_the_inputs_of_the_model_in_its_order():
    request = call(MODEL, {"limit": 3, "text": "a"})
    assert (request.model_name, request.id) == ("m", "id")
    assert [(each.name, each.datatype, list(each.shape)) for each in request.inputs] == [
        ("text", "BYTES", [1, 1]),
        ("limit", "INT32", [1, 1]),
    ]
    assert list(request.raw_input_contents) == [b"\x01\0\0\0a", b"\x03\0\0\0"]


def test_an_optional_input_may_be_missing():
    assert [each.name for each in call(MODEL, {"text": "a"}).inputs] == ["text"]


def test_parameters_keep_their_types():
    given = {"a": True, "b": -1, "c": 2**63, "d": 0.5, "e": "x"}
    request = call(MODEL, {"text": "a", "parameters": given})
    chosen = {name: (each.WhichOneof("parameter_choice"),) for name, each in request.parameters.items()}
    kinds = {"a": "bool_param", "b": "int64_param", "c": "uint64_param", "d": "double_param", "e": "string_param"}
    assert {name: value[0] for name, value in chosen.items()} == kinds
    assert {name: getattr(request.parameters[name], kind) for name, kind in kinds.items()} == given


@pytest.mark.parametrize("value", [[], {"a": None}, {"a": [1]}])
def test_parameters_of_other_kinds_are_refused(value):
    (problem,) = refusal(MODEL, json.dumps({"text": "a", "parameters": value}).encode())
    assert problem["loc"][:2] == ["body", "parameters"]


def test_the_calls_of_a_sequence_are_made_once():
    fields = {"text": "a", "parameters": {"sequence_id": 1}}
    assert not encode_body(MODEL, fields, "id", size=1).repeatable
    assert encode_body(MODEL, {"text": "a", "parameters": {"x": 1}}, "id", size=1).repeatable


def test_a_wrong_field_is_refused_with_the_nearest():
    (missing, unknown) = refusal(MODEL, b'{"txt": "a"}')
    assert (missing["type"], missing["loc"]) == ("missing", ["body", "text"])
    assert (unknown["type"], unknown["loc"]) == ("extra_forbidden", ["body", "txt"])
    assert "did you mean 'text'?" in unknown["msg"]


def test_all_that_is_wrong_is_reported_at_once():
    problems = refusal(MODEL, b'{"text": 1, "limit": "x", "other": 2}')
    assert [problem["loc"][1] for problem in problems] == ["text", "limit", "other"]


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"1", b"null"])
def test_a_body_is_an_object(body):
    (problem,) = refusal(MODEL, body)
    assert (problem["type"], problem["loc"]) == ("model_attributes_type", ["body"])


@pytest.mark.parametrize("body", [b"{", b'{"text": "\\ud800"}', b'{"text": "\xff"}', b"[" * 5000, b'{"text": NaN}'])
def test_a_body_is_json(body):
    (problem,) = refusal(MODEL, body)
    assert (problem["type"], problem["msg"]) == ("json_invalid", "JSON decode error")


def test_an_empty_body_is_missing():
    assert refusal(MODEL, b"") == [{"type": "missing", "loc": ["body"], "msg": "Field required", "input": None}]


def test_what_is_wrong_in_a_large_body_is_not_repeated():
    (problem,) = refusal(MODEL, json.dumps({"text": 1, "parameters": {"x": "y" * 5000}}).encode())
    assert "input" not in problem


def test_the_switch_of_the_application_selects_the_other_model():
    ids = {name: [1, 2] for name in ("input_ids", "attention_mask", "token_type_ids")}
    model = document("finbert-model")
    assert call(model, ids).model_name == "finbert-model"
    assert call(model, {**ids, "trt_model": False}).model_name == "finbert-model"
    request = call(model, {**ids, "trt_model": True})
    assert request.model_name == "finbert-trt-model"
    assert [list(each.shape) for each in request.inputs] == [[1, 2]] * 3
    assert np.frombuffer(request.raw_input_contents[0], np.int32).tolist() == [1, 2]


class SimpleNet(BaseModel):
    x: list[float]


class FinbertModel(BaseModel):
    input_ids: list[int]
    attention_mask: list[int]
    token_type_ids: list[int]
    trt_model: bool = False


class Finbert(BaseModel):
    text: str


IDS = {"input_ids": [1], "attention_mask": [1], "token_type_ids": [0]}


@pytest.mark.parametrize(
    ("name", "theirs", "body"),
    [
        ("simple_net", SimpleNet, {}),
        ("simple_net", SimpleNet, {"x": ["a", 1, None]}),
        ("simple_net", SimpleNet, {"x": "text"}),
        ("simple_net", SimpleNet, {"x": {}}),
        ("finbert-model", FinbertModel, {"input_ids": [1.5], "attention_mask": ["b"]}),
        ("finbert-model", FinbertModel, {**IDS, "trt_model": "perhaps"}),
        ("finbert-model", FinbertModel, {**IDS, "trt_model": None}),
        ("finbert", Finbert, {"text": 1}),
        ("finbert", Finbert, {"text": None}),
        ("finbert-tokenizer", Finbert, {}),
    ],
)
def test_mistakes_have_the_kinds_and_places_that_the_application_reports(name, theirs, body):
    with pytest.raises(ValidationError) as caught:
        theirs.model_validate(body)
    expected = [(each["type"], ["body", *each["loc"]], each["msg"]) for each in caught.value.errors()]
    found = [(each["type"], each["loc"], each["msg"]) for each in refusal(document(name), json.dumps(body).encode())]
    if body in ({"x": "text"}, {"x": {}}):  # a number or encoded bytes are also accepted here
        assert [(each[1]) for each in found] == [each[1] for each in expected]
    else:
        assert found == expected
