"""Load requests of any size: files in base64, and bounds on everything else."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest

from slipway.errors import Code, SlipwayError
from slipway.wire import load_request
from slipway.wire.load_request import read_load

CODE = np.random.default_rng(1).bytes(3_000_001)
TEXT = base64.b64encode(CODE).decode()


def document(**parameters):
    return json.dumps({"parameters": parameters}).encode()


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 1000, 2_999_998, 2_999_999, 3_000_000, 3_000_001])
@pytest.mark.parametrize("slash", ["/", "\\/"])
def test_files_of_any_size_are_read(size, slash):
    text = base64.b64encode(CODE[:size]).decode().replace("/", slash)
    body = f'{{"parameters": {{"config": "{{\\"name\\": \\"é\\"}}", "file:1/a": "{text}"}}}}'.encode()
    config, files = read_load(body)
    assert config == '{"name": "é"}'
    assert files == {"1/a": CODE[:size]}


def test_a_plain_upload_is_not_searched_for_keys_given_twice(monkeypatch):
    """The search crosses a long string in one call, in which no other thread runs."""
    monkeypatch.setattr(load_request, "refuse_duplicate_keys", lambda _: pytest.fail("searched"))
    config, files = read_load(document(config='{"name": "m"}', **{"file:1/a": TEXT, "file:1/b": TEXT}))
    assert (config, files) == ('{"name": "m"}', {"1/a": CODE, "1/b": CODE})


def test_a_large_document_may_lack_parameters():
    assert read_load(json.dumps({"other": TEXT}).encode()) == (None, {})


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (document(config=1, **{"file:a": TEXT}), "attempt to access JSON non-string as string"),
        (document(other=TEXT), "unexpected error on creating Triton parameter"),
        (document(other=1, **{"file:a": TEXT}), "attempt to access JSON non-string as string"),
        (json.dumps({"parameters": [TEXT]}).encode(), "attempt to get members for non-object"),
        (json.dumps([TEXT]).encode(), "attempt to get members for non-object"),
        (document(config=TEXT)[:-1], "failed to parse the request JSON buffer: Input data was truncated"),
        (document(config=TEXT).replace(b'"}', b'\xff"}'), "failed to parse the request JSON buffer: "),
        (b'{"a":' + b"[" * 3_000_000, "nesting depth exceeds"),
        (b'{"parameters":{"a":1,"a":"%b"}}' % TEXT.encode(), "the key 'a' is given twice"),
        (b'{"file:a":1,"file:a":1,"parameters":{"config":"%b"}}' % TEXT.encode(), "the key 'file:a' is given twice"),
        (b'{"parameters":{"config":"%b"},"x":{"a":1,"a":1}}' % TEXT.encode(), "the key 'a' is given twice"),
        (document(config=TEXT + "\ud800"), "The surrogate pair in string is invalid."),
        (document(**{f"file:{n}": "" for n in range(200_000)}), "has too many members"),
    ],
)
def test_other_large_documents_are_refused(body, message):
    assert len(body) > 2 << 20
    with pytest.raises(SlipwayError) as caught:
        read_load(body)
    assert message in caught.value.message


@pytest.mark.parametrize("size", [8, 2_000_000])
@pytest.mark.parametrize("broken", ["=", "%", "é", "\n", "==="])
@pytest.mark.parametrize("where", ["inside", "behind"])
def test_what_is_not_base64_is_refused(size, broken, where):
    text = TEXT[: 4 * (size // 4)]
    text = f"{text[: size // 2]}{broken}{text[size // 2 :]}" if where == "inside" else f"{text}{broken}"
    with pytest.raises(SlipwayError, match="failed to decode the base64 content of parameter 'file:a'") as caught:
        read_load(document(**{"file:a": text}))
    assert caught.value.code is Code.INVALID_ARG
