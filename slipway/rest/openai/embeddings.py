"""POST /v1/embeddings. Source: OpenAI's API reference, "Create embeddings".

Beside OpenAI's fields: `input_type` (as in Cohere's and NVIDIA's APIs) and `prompt_name` (text-embeddings-inference)
choose the prompt that is put before every text, `truncate` allows that long texts are shortened, `normalize` makes
vectors of length 1 where the model itself does not. Without it, vectors are those that the model gives on every other
route.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import msgspec
import numpy as np
import orjson

from slipway.config.purpose import Use
from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.embedding import EmbeddingOptions, Inputs, Truncate, embed, truncates
from slipway.rest.openai.reading import read_request
from slipway.rest.openai.served import choose_model
from slipway.rest.openai.texts import counted_refusals
from slipway.rest.openai.usage import Usage
from slipway.rest.response import JSON


class EmbeddingsRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The body; `user` is accepted without effect: it names the end user to OpenAI's abuse monitoring."""

    input: Inputs
    model: str
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = None
    user: str | None = None
    input_type: str | None = None
    prompt_name: str | None = None
    truncate: Truncate = None
    normalize: bool | None = None


async def create_embeddings(context: Context, exchange: Exchange) -> None:
    """Answer POST /v1/embeddings."""
    request = await read_request(exchange, EmbeddingsRequest)
    model = choose_model(context, request.model, Use.EMBED)
    options = EmbeddingOptions(
        input_type=request.input_type,
        prompt_name=request.prompt_name,
        truncates=truncates(request.truncate),
        dimensions=request.dimensions,
        normalize=bool(request.normalize),
    )
    with counted_refusals(context, model):
        found = await embed(context, exchange, model, request.input, options)
    rest = {"model": model.name, "usage": Usage(found.tokens).document()}
    write = _base64 if request.encoding_format == "base64" else _floats
    if sum(vector.size for vector in found.vectors) > LARGE_COUNT:
        document = await run_large(_document, found.vectors, write, rest)
    else:
        document = _document(found.vectors, write, rest)
    exchange.answer(200, JSON, document)


def _document(vectors: Sequence[np.ndarray], write: Callable[[np.ndarray], bytes], rest: Mapping[str, object]) -> bytes:
    data = (
        b'{"object":"embedding","index":%d,"embedding":%b}' % (place, write(vector))
        for place, vector in enumerate(vectors)
    )
    return b'{"object":"list","data":[%b],%b' % (b",".join(data), orjson.dumps(rest)[1:])


def _floats(vector: np.ndarray) -> bytes:
    return orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY)


def _base64(vector: np.ndarray) -> bytes:
    """Return a vector as little-endian FP32 in base64."""
    return b'"%b"' % base64.b64encode(vector.astype("<f4").tobytes())
