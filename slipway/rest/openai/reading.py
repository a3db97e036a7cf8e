"""Reads the JSON body of a request into a typed struct; what is wrong with it becomes one error that names the field.

Each API's request is a `msgspec.Struct` with `forbid_unknown_fields`: OpenAI refuses fields that it does not know, and
so do we, on every route, because a misspelt option is otherwise lost without a word. Fields that are accepted without
effect are declared like all others, with the reason.
"""

from __future__ import annotations

import re
from functools import cache
from typing import Any, Final, TypeVar

import msgspec

from slipway.core.large_work import run_large
from slipway.errors import SlipwayError, shown
from slipway.nearest import nearest_or_all
from slipway.rest.exchange import Exchange
from slipway.rest.openai.errors import ApiError
from slipway.wire.duplicate_keys import duplicate_key
from slipway.wire.json_text import refuse_lone_surrogates, too_deep

Request = TypeVar("Request", bound=msgspec.Struct)

MAX_BODY: Final = 8 << 20  # bytes; JSON is read in one call, which holds the interpreter lock for about 10 ms
_MOST_ELEMENTS: Final = 400_000  # of all arrays, counted by commas: there are 300,000 tokens in a request at most
_ON_LOOP: Final = 32 << 10  # bytes; the search for keys that are given twice takes up to 5 ms
_PIECE: Final = 256 << 10  # bytes searched at a time
_UNKNOWN: Final = re.compile(r"Object contains unknown field `(.*)`(?: - at `\$(.*)`)?", re.DOTALL)
_MISSING: Final = re.compile(r"Object missing required field `(.*?)`(?: - at `\$(.*)`)?", re.DOTALL)
_WRONG: Final = re.compile(r"(.*?)(?: - at `(?:key in )?\$(.*)`)?", re.DOTALL)


async def read_request(exchange: Exchange, kind: type[Request]) -> Request:
    """Return the body of a request, which a thread reads if it is large; raise `ApiError` for one that is not JSON, or
    is not a request of this kind."""
    if exchange.headers.get(b"content-encoding", b"identity") != b"identity":
        raise ApiError("Unsupported content-encoding, only 'identity' is supported.", status=415)
    if len(exchange.body) > MAX_BODY:
        raise ApiError(f"The request has {len(exchange.body)} bytes, the limit is {MAX_BODY}.", status=413)
    body = exchange.text()
    exchange.body = b""
    if len(body) > _ON_LOOP:
        return await run_large(decode_request, body, kind)
    return decode_request(body, kind)


def decode_request(body: bytes | bytearray, kind: type[Request]) -> Request:
    """Return the request in `body`; raise `ApiError`."""
    if len(body) > _MOST_ELEMENTS and _commas(body) > _MOST_ELEMENTS:  # each is an object to make, all in one call
        raise ApiError(f"The request has more than {_MOST_ELEMENTS} elements.", status=413)
    try:
        request: Request = _decoder(kind).decode(body)
        refuse_lone_surrogates(body)
    except msgspec.ValidationError as error:
        raise _misfit(str(error), kind) from None
    except RecursionError:
        raise _unreadable(too_deep().message) from None
    except UnicodeDecodeError:
        raise _unreadable("it is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise _unreadable(str(error)) from None
    except SlipwayError:
        raise _unreadable("a string contains half a surrogate pair") from None
    if (key := duplicate_key(body)) is not None:
        raise ApiError(f"The key '{shown(key)}' is given twice.", shown(key))
    return request


def _commas(body: bytes | bytearray) -> int:
    return sum(body[start : start + _PIECE].count(b",") for start in range(0, len(body), _PIECE))


@cache
def _decoder(kind: type[Any]) -> msgspec.json.Decoder[Any]:
    return msgspec.json.Decoder(kind)


def _unreadable(reason: str) -> ApiError:
    return ApiError(f"We could not parse the JSON body of your request: {reason}")


def _misfit(text: str, kind: type[Any]) -> ApiError:
    """Return the error for JSON of another form, which msgspec describes in `text`."""
    if found := _UNKNOWN.fullmatch(text):
        name, place = shown(found[1]), found[2]
        near = "" if place else nearest_or_all(found[1], kind.__struct_encode_fields__)
        where = f" in '{_field(place)}'" if place else ""
        return ApiError(f"Unrecognized request argument supplied: {name}{where}{near}", name, kind="unknown_parameter")
    if found := _MISSING.fullmatch(text):
        path = _field(f"{found[2] or ''}.{found[1]}")
        return ApiError(f"Missing required parameter: '{path}'.", path, kind="missing_required_parameter")
    wrong = _WRONG.fullmatch(text)
    path = _field(wrong[2] or "") if wrong else ""
    reason = (wrong[1] if wrong else text).replace("`", "'")
    if not path:
        return ApiError(f"Invalid request body: {reason}.")
    return ApiError(f"Invalid type for '{path}': {reason}.", path, kind="invalid_type")


def _field(path: str) -> str:
    """Return a path such as `.input[...][0]` as clients know it."""
    return shown(path.lstrip("."))
