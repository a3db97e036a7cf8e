"""HTTP requests of odd but parsable JSON: nulls, wrong types, keys given twice, numbers that JSON does not have."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.reference.http_cases import HttpCase

_INFER = "/v2/models/pair/infer"
_GENERATE = "/v2/models/pair/generate"
_CHAIN = "/v2/models/chain/infer"
A = {"name": "A", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}
B = {**A, "name": "B"}


def _infer(**members: object) -> bytes:
    return json.dumps({"inputs": [A, B], **members}).encode()


def odd() -> Iterator[HttpCase]:
    """Every case of this module."""
    yield from _generate()
    yield from _nulls()
    yield from _sequences()
    yield from _halves()
    yield from _sizes()
    yield from _orders()
    one, two = json.dumps(A), json.dumps(B)
    yield HttpCase("odd inputs twice", _INFER, body=f'{{"inputs":[{one},{two}],"inputs":[{one},{two}]}}'.encode())
    yield HttpCase("odd id twice", _INFER, body=f'{{"id":"a","id":"b","inputs":[{one},{two}]}}'.encode())
    yield HttpCase("odd index twice", "/v2/repository/index", body=b'{"ready":true,"ready":false}')
    yield HttpCase("odd byte order mark", _INFER, body=b"\xef\xbb\xbf" + _infer())
    yield HttpCase("odd unknown member", _INFER, body=_infer(color="red"))


def _halves() -> Iterator[HttpCase]:
    """Escapes of half a character, in every place that takes text."""
    plain = f'"inputs":[{json.dumps(A)},{json.dumps(B)}]'
    for name, half in (
        ("first", r"\ud800"),
        ("second", r"\udc00"),
        ("apart", r"\ud800 \udc00"),
        ("swapped", r"\udc00\ud800"),
    ):
        yield HttpCase(f"odd half {name}", _INFER, body=f'{{"id":"{half}",{plain}}}'.encode())
    yield HttpCase("odd whole", _INFER, body=f'{{"id":"\\\\ud800 \\ud83d\\ude00",{plain}}}'.encode())
    for key in ("sequence_id", "color"):
        body = f'{{"parameters":{{"{key}":"\\ud800"}},{plain}}}'.encode()
        yield HttpCase(f"odd half {key}", _INFER, body=body)
    yield HttpCase("odd half unread", _INFER, body=f'{{"surprise":"\\ud800",{plain}}}'.encode())
    yield HttpCase("odd half datatype", _INFER, body=_infer(inputs=[{**A, "datatype": "\ud800"}, B]))
    yield HttpCase("odd half generate", _GENERATE, body=b'{"A":[1,1,1,1],"B":[1,1,1,1],"color":"\\ud800"}')
    yield HttpCase("odd half index", "/v2/repository/index", body=b'{"color":"\\ud800"}')


def _sizes() -> Iterator[HttpCase]:
    """Numbers beyond 64 bits, and sizes of the wrong type where they are not used."""
    beyond = 2**64
    yield HttpCase("odd size shape", _INFER, body=_infer(inputs=[{**A, "shape": [1, beyond]}, B]))
    sized = {"name": "A", "datatype": "FP32", "shape": [1, 4], "parameters": {"binary_data_size": beyond}}
    yield HttpCase("odd size binary", _INFER, body=_infer(inputs=[sized, B]))
    for key, value in (("classification", beyond), ("shared_memory_byte_size", "x"), ("shared_memory_offset", -1)):
        output = {"name": "SUM", "parameters": {key: value}}
        yield HttpCase(f"odd size output {key}", _INFER, body=_infer(outputs=[output]))
    for key in ("shared_memory_byte_size", "shared_memory_offset"):
        yield HttpCase(f"odd size input {key}", _INFER, body=_infer(inputs=[{**A, "parameters": {key: "x"}}, B]))
    for count in (42, 43):
        body = _infer(parameters={"sequence_id": "東" * count})
        yield HttpCase(f"odd size sequence id of {count} characters", _INFER, body=body)


def _orders() -> Iterator[HttpCase]:
    """Requests with two faults, of which the same one is reported."""
    yield HttpCase("odd order outputs", _INFER, body=_infer(outputs=[{"name": "zebra"}, {"name": "ant"}]))
    large = [{**each, "shape": [9, 1, 4], "data": [1] * 36} for each in (A, B)]
    yield HttpCase("odd order rows before shape", _INFER, body=_infer(inputs=large))
    wrong = [{"name": "A", "shape": 3}]
    for key, value in (("sequence_start", 1), ("sequence_id", []), ("color", [])):
        body = _infer(inputs=wrong, parameters={key: value})
        yield HttpCase(f"odd order {key} before inputs", _INFER, body=body)
    header = json.dumps({"inputs": [{**A, "datatype": "FP33", "parameters": {"binary_data_size": 16}}, B]})
    header = header.replace('"data": [1, 2, 3, 4], "parameters"', '"parameters"')
    length = {"Inference-Header-Content-Length": str(len(header))}
    yield HttpCase("odd datatype of binary data", _INFER, body=header.encode() + bytes(16), headers=length)


def _generate() -> Iterator[HttpCase]:
    for name, values in (("short", [1, 2, 3]), ("long", [1, 2, 3, 4, 5]), ("scalar", 1), ("empty", [])):
        body = json.dumps({"A": values, "B": [1, 2, 3, 4]}).encode()
        yield HttpCase(f"odd generate {name}", _GENERATE, body=body)
    yield HttpCase("odd generate half a document", _GENERATE, body=b'5"A":[1,1,2,3]}')
    plain = b'"A":[1,1,2,3],"B":[1,2,3,4]'
    yield HttpCase("odd generate not a number", _GENERATE, body=b'{"A":[NaN,1,2,Infinity],"B":[1,2,3,4]}')
    yield HttpCase("odd generate byte order mark", _GENERATE, body=b"\xef\xbb\xbf{%b}" % plain)
    yield HttpCase("odd generate input twice", _GENERATE, body=b'{"A":[1,1,2,4],%b}' % plain)
    yield HttpCase("odd generate input nested too", _GENERATE, body=b'{%b,"parameters":{"A":[1,1,1,1]}}' % plain)
    for name, value in (
        ("object", '{"x":1,"y":2,"z":3,"w":4}'),
        ("commas", '"1,2,3,4"'),
        ("listed commas", '["1,2,3,4"]'),
    ):
        body = f'{{"A":{value},"B":[1,2,3,4]}}'.encode()
        yield HttpCase(f"odd generate {name}", _GENERATE, body=body)
    for value in (b"null", b"[1]", b"{}", b"1", b"true"):
        yield HttpCase(f"odd generate id {value.decode()}", _GENERATE, body=b'{%b,"id":%b}' % (plain, value))
        yield HttpCase(f"odd generate color {value.decode()}", _GENERATE, body=b'{%b,"color":%b}' % (plain, value))


def _nulls() -> Iterator[HttpCase]:
    for key in ("binary_data", "shared_memory_region", "classification"):
        output = {"name": "SUM", "parameters": {key: None}}
        yield HttpCase(f"odd output {key} null", _INFER, body=_infer(outputs=[output]))
    for key in ("binary_data_size", "shared_memory_region"):
        yield HttpCase(f"odd input {key} null", _INFER, body=_infer(inputs=[{**A, "parameters": {key: None}}, B]))
    for key in ("binary_data_output", "sequence_id", "priority", "color"):
        yield HttpCase(f"odd parameter {key} null", _INFER, body=_infer(parameters={key: None}))
    for key in ("parameters", "outputs", "inputs", "id"):
        yield HttpCase(f"odd {key} null", _INFER, body=_infer(**{key: None}))
    yield HttpCase("odd input parameters null", _INFER, body=_infer(inputs=[{**A, "parameters": None}, B]))
    yield HttpCase("odd data null", _INFER, body=_infer(inputs=[{**A, "data": None}, B]))


def _sequences() -> Iterator[HttpCase]:
    inputs = [{**A, "name": "X"}, {**A, "name": "Y"}]
    for name, parameters in (
        ("id", {"sequence_id": 5}),
        ("start", {"sequence_id": 5, "sequence_start": True}),
        ("text id end", {"sequence_id": "abc", "sequence_end": True}),
        ("start alone", {"sequence_start": True}),
    ):
        yield HttpCase(f"odd ensemble sequence {name}", _CHAIN, body=_infer(inputs=inputs, parameters=parameters))
