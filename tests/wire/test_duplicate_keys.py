"""A key that stands twice in one object is found wherever it stands, and nothing else is taken for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.errors import SlipwayError
from slipway.wire import duplicate_keys
from slipway.wire.duplicate_keys import duplicate_key
from slipway.wire.infer_request import decode_infer

INPUT = '{"name": "a", "shape": [1], "datatype": "INT8", "data": [1]}'


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"a": 1, "a": 2}', "a"),
        ('{"a": {"b": 1}, "c": [{"d": "e", "d" : 1}]}', "d"),
        ('{"a": 1, "\\u0061": 2}', "a"),
        ('{"\\"": 1, "\\"": 2}', '"'),
        ('{"a": 1, "b": {"a": 2}, "c": ["a", "a"]}', None),
        ('[{"a": 1}, {"a": 1}]', None),
        ('{"a": "\\"a\\":", "b": "{\\"a\\": 1, \\"a\\": 2}"}', None),
        ('{"a": "a", "b": "b:"}', None),
        ("[1, 2]", None),
        ('"a"', None),
        pytest.param('{"a"' + " " * 200_000 + ': 1, "a": 2}', "a", id="far colon"),
        pytest.param('{"a": 1, "a"' + " " * 65_535 + ": 2}", "a", id="colon at the end of a token"),
        pytest.param('{"a": 1, "b": "a"' + " " * 200_000 + ', "c": 2}', None, id="far comma"),
        pytest.param('{"a": [' + "1," * 200_000 + '1], "a": 2}', "a", id="many numbers"),
    ],
)
def test_only_keys_of_one_object_count(text, key):
    assert duplicate_key(text.encode()) == key


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=4),
    max_leaves=12,
)


@given(JSON, st.booleans())
@settings(deadline=None)
def test_what_python_writes_has_no_key_twice(value, ascii_only):
    assert duplicate_key(json.dumps(value, ensure_ascii=ascii_only).encode(errors="surrogatepass")) is None


@given(st.dictionaries(st.text(max_size=3), JSON, min_size=1, max_size=4), st.data())
@settings(deadline=None)
def test_a_key_said_again_is_named(value, data):
    again = data.draw(st.sampled_from(sorted(value)))
    text = json.dumps(value)[:-1] + ", " + json.dumps({again: 0})[1:]
    assert duplicate_key(text.encode()) == again


@pytest.mark.parametrize(
    "text",
    [
        f'{{"inputs": [{INPUT}], "id": "x", "id": "y"}}',
        f'{{"inputs": [{INPUT}], "inputs": [{INPUT}]}}',
        f'{{"inputs": [{INPUT}], "parameters": {{"p": 1, "p": 2}}}}',
        f'{{"inputs": [{INPUT}], "unknown": 1, "unknown": 2}}',
        '{"inputs": [{"name": "a", "shape": [1], "shape": [2], "datatype": "INT8", "data": [1, 2]}]}',
        '{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [NaN], "data": [1]}]}',
    ],
)
def test_an_infer_request_has_no_key_twice(text):
    with pytest.raises(SlipwayError, match="is given twice in one object"):
        decode_infer("m", "", text.encode(), len(text))


@pytest.mark.parametrize("key", [b"\xff", b"\xff\\n", b"\xfe\xc3\\n"])
def test_keys_that_are_not_utf8_are_compared_too(key):
    assert duplicate_key(b'{"%b": 1, "a": 2}' % key) is None
    assert duplicate_key(b'{"%b": 1, "%b": 2}' % (key, key)) is not None


@pytest.mark.parametrize("data", [b"1" * 1_000_000, b"1," * 500_000 + b"1", b" " * 1_000_000 + b"1"])
def test_no_single_search_crosses_a_large_tensor(data):
    text = b'{"id": "a:b", "data": [%b]}' % data
    assert max(len(token[0]) for token in duplicate_keys._TOKENS.finditer(text)) < 200_000


def test_colons_in_names_and_strings_are_not_keys():
    text = '{"inputs": [{"name": "a:b", "shape": [1], "datatype": "BYTES", "data": ["x: \\": y"]}], "extra": ":"}'
    request, _ = decode_infer("m", "", text.encode(), len(text))
    assert request.inputs["a:b"].array.tolist() == [b'x: ": y']
