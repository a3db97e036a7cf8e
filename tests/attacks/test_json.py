"""Attacks 7-13: hostile JSON documents, shapes, parameters and BYTES."""

from __future__ import annotations

import json
import struct

import pytest

from slipway.attack import json_corpus as corpus
from tests.attacks.conftest import assert_refused

MIB = 2**20


def entry(**changes: object) -> dict[str, object]:
    """Return a valid INT64 input of two values, with changes."""
    return {"name": "INPUT0", "datatype": "INT64", "shape": [1, 2], "data": [1, 2], **changes}


UNFIT = corpus.unfit_data(2)
BROKEN = corpus.broken_documents({"inputs": [entry()]})


def nested(depth: int, leaf: object) -> bytes:
    """Return an infer request whose data is nested `depth` lists deep."""
    return corpus.nested({"inputs": [entry(shape=[1, 1], data=[leaf])]}, depth)


@pytest.mark.parametrize(("model", "leaf"), [("int64", 1), ("bytes", "a")])
def test_nesting_beyond_the_limit_is_refused(target, model, leaf):
    body = nested(120, leaf).replace(b"INT64", b"BYTES" if model == "bytes" else b"INT64")
    assert_refused(target.infer(model, body), "JSON nesting depth exceeds maximum allowed limit (100)")


def test_nesting_within_the_limit_is_read(target):
    assert target.infer("int64", nested(50, 1)).status == 200


@pytest.mark.parametrize("path", ["/v2/repository/index", "/v2/models/int64/infer", "/v2/models/int64/generate"])
def test_a_quarter_of_a_million_brackets_are_refused(target, path):
    assert_refused(target.ask("POST", path, corpus.deep(250_000)), "nesting")
    assert target.ask("GET", "/v2/health/live").status == 200


def test_brackets_inside_strings_do_not_count(target):
    text = json.dumps({"inputs": [{"name": "INPUT0", "datatype": "BYTES", "shape": [1, 1], "data": ["[" * 500]}]})
    assert target.infer("bytes", text.encode()).status == 200


def test_small_integers_declared_as_wide_ones_do_not_multiply_memory(target):
    count = 8 * MIB
    data = b"[" + b"1," * (count - 1) + b"1]"
    body = b'{"inputs":[{"name":"INPUT0","datatype":"INT64","shape":[1,%d],"data":%s}]}' % (count, data)
    before = target.rss()
    answer = target.infer("int64", body)
    assert answer.status in (200, 400)
    assert target.rss() - before < 1024 * MIB


@pytest.mark.parametrize("shape", corpus.LYING_SHAPES, ids=lambda shape: str(shape)[:40])
def test_lying_shapes_are_refused(target, shape):
    answer = target.infer("int64", {"inputs": [entry(shape=shape)]})
    assert answer.status in (400, 500)
    assert answer.error


@pytest.mark.parametrize("shape", corpus.SHAPES_OF_OTHER_THINGS)
def test_shapes_of_other_things_are_refused(target, shape):
    answer = target.infer("int64", corpus.put({"inputs": [entry()]}, "shape", shape))
    assert answer.status in (400, 500)
    assert answer.error


@pytest.mark.parametrize("data", UNFIT.values(), ids=UNFIT)
def test_data_that_does_not_fit_is_refused(target, data):
    answer = target.infer("int64", corpus.put({"inputs": [entry()]}, "data", data))
    assert answer.status in (400, 500), answer
    assert answer.error


@pytest.mark.parametrize("body", BROKEN.values(), ids=BROKEN)
def test_broken_documents_are_refused(target, body):
    answer = target.infer("int64", body)
    assert answer.status in (400, 500)
    assert answer.error


def test_data_given_twice_is_refused(target):
    answer = target.infer("int64", {"inputs": [entry(parameters={"binary_data_size": 16})]}, b"\0" * 16)
    assert_refused(answer, "Input must set only one of the following fields: 'data'")


def test_an_unknown_datatype_is_refused(target):
    assert target.infer("int64", {"inputs": [entry(datatype="INT65")]}).status == 400


def test_a_hundred_thousand_inputs_are_refused(target):
    before = target.rss()
    answer = target.infer("int64", {"inputs": [entry(name=f"I{n}") for n in range(100_000)]})
    assert_refused(answer)
    assert target.rss() - before < 400 * MIB


def test_a_hundred_thousand_outputs_are_refused(target):
    outputs = [{"name": f"O{n}"} for n in range(100_000)]
    assert_refused(target.infer("int64", {"inputs": [entry()], "outputs": outputs}))


def test_duplicates_are_refused(target):
    assert_refused(target.infer("int64", {"inputs": [entry(), entry()]}), "input 'INPUT0' already exists in request")
    answer = target.infer("int64", {"inputs": [entry()], "outputs": [{"name": "OUTPUT0"}] * 2})
    assert_refused(answer, "output 'OUTPUT0' already exists in request")


@pytest.mark.parametrize("parameters", corpus.MISUSED_PARAMETERS, ids=str)
def test_misused_parameters_are_refused(target, parameters):
    answer = target.infer("int64", {"inputs": [entry()], "parameters": parameters})
    assert answer.status in (400, 500), answer
    assert answer.error


def test_a_million_parameters_do_not_kill(target):
    body = {"inputs": [entry()], "parameters": {f"p{n}": n for n in range(1_000_000)}}
    assert target.infer("int64", body).status in (200, 400)


def bytes_request(raw: bytes, shape: list[int]) -> tuple[dict[str, object], bytes]:
    """Return a request with one binary BYTES tensor."""
    given = {"name": "INPUT0", "datatype": "BYTES", "shape": shape, "parameters": {"binary_data_size": len(raw)}}
    return {"inputs": [given]}, raw


@pytest.mark.parametrize(("raw", "shape"), corpus.LYING_STRINGS, ids=range(len(corpus.LYING_STRINGS)))
def test_lying_bytes_tensors_are_refused(target, raw, shape):
    assert_refused(target.infer("bytes", *bytes_request(raw, shape)), "string")


def test_empty_nul_and_non_utf8_elements_survive(target):
    elements = (b"", b"a\0b", b"\xff\xfe")
    raw = b"".join(struct.pack("<I", len(element)) + element for element in elements)
    request, _ = bytes_request(raw, [1, 3])
    request["outputs"] = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    answer = target.infer("bytes", request, raw)
    assert answer.status == 200
    assert answer.body.endswith(raw)


def test_one_string_of_sixty_megabytes_passes(target):
    raw = struct.pack("<I", 60 * MIB) + b"x" * (60 * MIB)
    request, _ = bytes_request(raw, [1, 1])
    request["outputs"] = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    before = target.rss()
    assert target.infer("bytes", request, raw).status == 200
    assert target.rss() - before < 400 * MIB


def test_ten_million_empty_strings_pass_or_are_refused(target):
    count = 10_000_000
    raw = b"\0\0\0\0" * count
    request, _ = bytes_request(raw, [1, count])
    request["outputs"] = [{"name": "OUTPUT0", "parameters": {"binary_data": True}}]
    before = target.rss()
    assert target.infer("bytes", request, raw).status == 200
    assert target.rss() - before < 400 * MIB


@pytest.mark.parametrize("shape", [*corpus.OVERFLOWING_SHAPES, [9, 2]], ids=str)
def test_batch_times_elements_cannot_overflow(target, shape):
    answer = target.infer("int64", {"inputs": [entry(shape=shape)]})
    assert answer.status in (400, 500)
    assert answer.error


def test_a_batch_of_no_rows_is_answered_or_refused(target):
    answer = target.infer("int64", {"inputs": [entry(shape=[0, 2], data=[])]})
    assert answer.status in (200, 400)
