"""Embeds the texts or token arrays of a request, whatever the route."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

import numpy as np

from slipway.core.large_work import LARGE_COUNT, run_large
from slipway.core.signature import ModelSignature
from slipway.core.tensor import Tensor
from slipway.errors import internal
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.rows import RowJob, run_rows, text_tensor
from slipway.rest.openai.served import ServedModel
from slipway.rest.openai.texts import MAX_TOKENS, as_list, chosen_prompt, count_texts, fit, open_tokenizer

EMBEDDING: Final = "embedding"
Inputs = str | list[str | int | list[int]]  # a text, texts, a token array or token arrays
Truncate = bool | Literal["NONE", "END"] | None
_IDS: Final = "input_ids"
_FILL: Final = {_IDS: None, "attention_mask": 1, "token_type_ids": 0}  # what a token array becomes
_UNIT: Final = 1e-3  # how far the length of a vector may be from 1 that the model has normalised


@dataclass(frozen=True, slots=True)
class EmbeddingOptions:
    """What a request asks of all its texts; `field` names the one that holds them."""

    field: str = "input"
    input_type: str | None = None
    prompt_name: str | None = None
    truncates: bool = False
    dimensions: int | None = None
    normalize: bool = False


@dataclass(frozen=True, slots=True)
class Embeddings:
    """One FP32 vector per text, and the number of tokens of all texts."""

    vectors: Sequence[np.ndarray]
    tokens: int


def truncates(value: Truncate) -> bool:
    """Return whether a request allows that texts are truncated."""
    return value is True or value == "END"


async def embed(
    context: Context, exchange: Exchange, model: ServedModel, inputs: Inputs, options: EmbeddingOptions
) -> Embeddings:
    """Return the embeddings of a request's texts or token arrays; raise `ApiError` for what it may not have."""
    texts, arrays = split_inputs(inputs, options.field)
    width = model.signature.outputs[EMBEDDING].dims[-1] if EMBEDDING in model.signature.outputs else 0
    if options.dimensions is not None and not (options.dimensions > 0 and (width < 1 or options.dimensions <= width)):
        raise _too_wide(options.dimensions, width)
    prompt = chosen_prompt(context, model, options.input_type, options.prompt_name)
    if arrays:
        if prompt:
            raise ApiError("A prompt cannot be put before token arrays: send texts.", options.field)
        job, tokens = await _ids_job(context, model, arrays, options)
    else:
        counted = await count_texts(
            context, model, [prompt + text for text in texts], options.field, truncates=options.truncates
        )
        job, tokens = _text_job(model, counted.texts, counted.lengths), counted.tokens
    vectors = (await run_rows(context, exchange, job))[EMBEDDING]
    if sum(vector.size for vector in vectors) > LARGE_COUNT:
        vectors = await run_large(_finished, vectors, options)
    else:
        vectors = _finished(vectors, options)
    return Embeddings(vectors, tokens)


def split_inputs(inputs: Inputs, field: str) -> tuple[list[str], list[list[int]]]:
    """Return the texts of a request, or its token arrays; raise `ApiError` if they are mixed, empty or too many."""
    if isinstance(inputs, list) and inputs and isinstance(inputs[0], int):
        ids = [each for each in inputs if isinstance(each, int)]
        if len(ids) < len(inputs):
            raise _mixed(field)
        return [], [ids]
    elements = as_list(inputs, field)
    texts = [each for each in elements if isinstance(each, str)]
    arrays = [each for each in elements if isinstance(each, list)]
    if len(elements) not in (len(texts), len(arrays)):
        raise _mixed(field)
    if not all(elements):
        raise ApiError(f"'{field}' must not contain empty texts or token arrays.", field)
    return texts, arrays


def _too_wide(dimensions: int, width: int) -> ApiError:
    return ApiError(f"'dimensions' is {dimensions}, but the model's embeddings have {width}.", "dimensions")


def _mixed(field: str) -> ApiError:
    return ApiError(f"'{field}' must be a text, an array of texts, a token array or an array of token arrays.", field)


def _text_job(model: ServedModel, texts: Sequence[object], lengths: Sequence[int]) -> RowJob:
    def inputs(group: Sequence[int]) -> list[Tensor]:
        return [text_tensor("text", [str(texts[place]) for place in group])]

    return RowJob(model.name, model.signature.max_batch_size, (EMBEDDING,), lengths, inputs)


async def _ids_job(
    context: Context, model: ServedModel, arrays: Sequence[list[int]], options: EmbeddingOptions
) -> tuple[RowJob, int]:
    """Return the job for token arrays, which go to the encoder itself, and their number of tokens."""
    tokenizer = await open_tokenizer(context, model)
    name = model.purpose.encoder
    if tokenizer is None or not name:
        raise ApiError(f"The model '{model.name}' takes texts only, not token arrays.", options.field)
    signature = context.dataplane.signature(name, "")
    if not _FILL.keys() >= signature.required_inputs or EMBEDDING not in signature.outputs:
        raise ApiError(f"The model '{model.name}' takes texts only, not token arrays.", options.field)
    if sum(map(len, arrays)) > MAX_TOKENS:
        raise fit_error(arrays, options.field)
    wrapped = partial(_wrapped, arrays, tokenizer.before, tokenizer.after, tokenizer.vocabulary, options.field)
    ids = await run_large(wrapped) if sum(map(len, arrays)) > LARGE_COUNT else wrapped()
    lengths = fit([len(row) for row in ids], tokenizer.max_tokens, options.field, truncates=options.truncates)
    end = len(tokenizer.after)
    rows = [_shortened(row, length, end) for row, length in zip(ids, lengths, strict=True)]

    def inputs(group: Sequence[int]) -> list[Tensor]:
        return _id_tensors(np.stack([rows[place] for place in group]), signature)

    job = RowJob(name, signature.max_batch_size, (EMBEDDING,), lengths, inputs, exact=True)
    return job, sum(lengths)


def fit_error(arrays: Sequence[list[int]], field: str) -> ApiError:
    """Return the error for more tokens than a request may have."""
    count = sum(map(len, arrays))
    return ApiError(f"'{field}' has {count} tokens, but at most {MAX_TOKENS} fit into one request.", field, status=413)


def _wrapped(
    arrays: Sequence[list[int]], before: tuple[int, ...], after: tuple[int, ...], vocabulary: int, field: str
) -> list[np.ndarray]:
    """Return token arrays as INT64, with the special tokens that a text would get unless they are there."""
    rows = []
    for place, array in enumerate(arrays):
        try:
            row = np.array(array, dtype=np.int64)
        except OverflowError:
            row = np.array([-1])
        if row.min() < 0 or row.max() >= vocabulary:
            raise ApiError(
                f"Token array {place} of '{field}' has ids outside the model's vocabulary of {vocabulary}: another "
                f"tokenizer made them. Send texts.",
                field,
            )
        is_wrapped = tuple(array[: len(before)]) == before and tuple(array[len(array) - len(after) :]) == after
        rows.append(row if is_wrapped else np.concatenate([[*before], row, [*after]]).astype(np.int64))
    return rows


def _shortened(row: np.ndarray, length: int, end: int) -> np.ndarray:
    """Return a row of `length` tokens that keeps the `end` special tokens after the text."""
    if len(row) == length:
        return row
    return np.concatenate([row[: length - end], row[len(row) - end :]])


def _id_tensors(ids: np.ndarray, signature: ModelSignature) -> list[Tensor]:
    """Return the encoder's inputs for rows of equal length."""
    tensors = []
    for name, spec in signature.inputs.items():
        if name in _FILL:
            fill = _FILL[name]
            array = ids if fill is None else np.full_like(ids, fill)
            tensors.append(Tensor(name, spec.datatype, array.shape, array=array))
    return tensors


def _finished(vectors: Sequence[np.ndarray], options: EmbeddingOptions) -> list[np.ndarray]:
    """Return vectors as the request wants them; raise INTERNAL for one that is not made of finite numbers."""
    return [_finish(vector, options.dimensions, normalize=options.normalize) for vector in vectors]


def _finish(vector: np.ndarray, dimensions: int | None, *, normalize: bool) -> np.ndarray:
    whole = np.ascontiguousarray(vector, dtype=np.float32).reshape(-1)
    length = float(np.linalg.norm(whole))
    if not np.isfinite(length):
        raise internal("the model returned an embedding with numbers that are not finite")
    if dimensions is not None:
        if dimensions > whole.size:  # of a model whose config does not say how many there are
            raise _too_wide(dimensions, whole.size)
        whole = whole[:dimensions]
        normalize = normalize or abs(length - 1) < _UNIT  # a shortened vector keeps the length 1 (OpenAI)
        length = float(np.linalg.norm(whole))
    return whole / np.float32(length) if normalize and length > 0 else whole
