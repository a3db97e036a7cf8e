"""POST /tokenize and /detokenize as in vLLM's API, and as in that of text-embeddings-inference, whose /tokenize has
`inputs` and whose other route is /decode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

import msgspec
import orjson

from slipway.config.purpose import Use
from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.errors import ApiError, tei_envelope
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.served import ServedModel, choose_model
from slipway.rest.openai.texts import as_list, bounded, chosen_prompt, counted_refusals, open_tokenizer
from slipway.rest.openai.tokenizing import TextTokenizer
from slipway.rest.response import JSON

if TYPE_CHECKING:
    from tokenizers import Encoding

_MOST_CHARACTERS: Final = 1 << 18  # of one request; the answer has an object for each token
_PIECE: Final = 4096  # tokens of an answer that are written in one call
_MOST_IDS: Final = 1 << 16


class TokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /tokenize: `prompt` as in vLLM's API, or `inputs` as in that of text-embeddings-inference."""

    prompt: str | None = None
    inputs: str | list[str] | None = None
    model: str | None = None
    add_special_tokens: bool = True
    return_token_strs: bool = False
    prompt_name: str | None = None


class DetokenizeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /detokenize."""

    tokens: list[int]
    model: str | None = None


class DecodeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body of /decode."""

    ids: list[int | list[int]]
    skip_special_tokens: bool = True
    model: str | None = None


async def tokenize(context: Context, exchange: Exchange) -> None:
    """Answer POST /tokenize."""
    request = await read_request(exchange, TokenizeRequest)
    field, given = ("prompt", request.prompt) if request.inputs is None else ("inputs", request.inputs)
    if given is None or (request.prompt is not None and request.inputs is not None):
        raise ApiError("Specify either 'prompt' or 'inputs'.", "prompt", kind="missing_required_parameter")
    if request.inputs is not None:
        exchange.envelope = tei_envelope
    texts = as_list(given, field)
    count = sum(map(len, texts))
    if count > _MOST_CHARACTERS:
        message = f"'{field}' has {count} characters, but at most {_MOST_CHARACTERS} are tokenized in one request."
        raise ApiError(message, field, status=413)
    model = choose_model(context, request.model, *Use)
    with counted_refusals(context, model):
        tokenizer = await _tokenizer(context, model)
        prompt = chosen_prompt(context, model, None, request.prompt_name)
    texts = [prompt + text for text in texts]
    encodings = await tokenizer.encode(texts, special=request.add_special_tokens)
    large = sum(len(each) for each in encodings) > LARGE_COUNT // 16
    write = _described if request.inputs is not None else _counted
    arguments = (encodings, texts, tokenizer, request)
    exchange.answer(200, JSON, await run_large(write, *arguments) if large else write(*arguments))


def _counted(
    encodings: Sequence[Encoding], _: Sequence[str], tokenizer: TextTokenizer, request: TokenizeRequest
) -> bytes:
    """Return vLLM's answer."""
    encoding = encodings[0]
    strings = encoding.tokens if request.return_token_strs else None
    document = {"count": len(encoding), "max_model_len": tokenizer.max_tokens or None, "tokens": encoding.ids}
    return orjson.dumps({**document, "token_strs": strings})


def _described(encodings: Sequence[Encoding], texts: Sequence[str], _: TextTokenizer, __: TokenizeRequest) -> bytes:
    """Return the answer of text-embeddings-inference: each token with its place in the text, in characters."""
    return b"[%b]" % b",".join(
        _written(_tokens(encoding, text)) for encoding, text in zip(encodings, texts, strict=True)
    )


def _written(tokens: Sequence[dict[str, object]]) -> bytes:
    """Return a JSON array, written in pieces: a call holds the interpreter lock."""
    pieces = (orjson.dumps(tokens[start : start + _PIECE])[1:-1] for start in range(0, len(tokens), _PIECE))
    return b"[%b]" % b",".join(pieces)


def _tokens(encoding: Encoding, text: str) -> list[dict[str, object]]:
    columns = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
    return [
        {
            "id": number,
            "text": token if special else text[start:stop],
            "special": bool(special),
            "start": None if special else start,
            "stop": None if special else stop,
        }
        for number, token, special, (start, stop) in columns
    ]


async def detokenize(context: Context, exchange: Exchange) -> None:
    """Answer POST /detokenize."""
    request = await read_request(exchange, DetokenizeRequest)
    model = choose_model(context, request.model, *Use)
    with counted_refusals(context, model):
        tokenizer = await _tokenizer(context, model)
        _check_ids(request.tokens, tokenizer, "tokens")
    text = await tokenizer.decode(request.tokens)
    exchange.answer(200, JSON, orjson.dumps({"prompt": text}))


async def decode(context: Context, exchange: Exchange) -> None:
    """Answer POST /decode."""
    request = await read_request(exchange, DecodeRequest)
    arrays = _arrays(request.ids)
    model = choose_model(context, request.model, *Use)
    with counted_refusals(context, model):
        tokenizer = await _tokenizer(context, model)
        _check_ids([number for array in arrays for number in array], tokenizer, "ids")
    texts = await tokenizer.decode_all(arrays, skip_special=request.skip_special_tokens)
    exchange.answer(200, JSON, orjson.dumps(texts))


def _arrays(ids: list[int | list[int]]) -> list[list[int]]:
    """Return token arrays, of which a request has one or several."""
    numbers = [each for each in ids if isinstance(each, int)]
    arrays = [each for each in ids if isinstance(each, list)]
    if numbers and arrays:
        raise ApiError("'ids' must be a token array or an array of token arrays.", "ids")
    if not ids:
        raise ApiError("'ids' must not be empty.", "ids")
    return [numbers] if numbers else bounded(arrays, "ids")


async def _tokenizer(context: Context, model: ServedModel) -> TextTokenizer:
    tokenizer = await open_tokenizer(context, model)
    if tokenizer is None:
        raise ApiError(f"The model '{model.name}' has no tokenizer.json.", "model")
    return tokenizer


def _check_ids(ids: Sequence[object], tokenizer: TextTokenizer, field: str) -> None:
    if len(ids) > _MOST_IDS:
        raise ApiError(f"'{field}' has {len(ids)} ids, but at most {_MOST_IDS} are decoded.", field, status=413)
    if not all(isinstance(number, int) and 0 <= number < tokenizer.vocabulary for number in ids):
        raise ApiError(f"'{field}' has ids outside the model's vocabulary of {tokenizer.vocabulary}.", field)
