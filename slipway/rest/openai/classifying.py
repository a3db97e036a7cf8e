"""Classifies texts: among the labels of the model, or among labels that come with the request."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from slipway.core.tensor import Tensor
from slipway.errors import internal
from slipway.rest.context import Context
from slipway.rest.exchange import Exchange
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.rows import MakeInputs, RowJob, run_rows, text_tensor
from slipway.rest.openai.served import ServedModel
from slipway.rest.openai.texts import CountedTexts, count_texts

_SCORES: Final = "scores"
_LOGITS: Final = "logits"
_LONGEST_LABEL: Final = 1024  # characters; the answer repeats all labels for each text
_HYPOTHESIS: Final = "HYPOTHESIS"  # of the tokenizer model, see `convert/models/tokenizer.py`


@dataclass(frozen=True, slots=True)
class Classes:
    """The labels, the score of each for every text, [texts][labels], and the number of tokens that were read."""

    labels: Sequence[str]
    scores: Sequence[Sequence[float]]
    tokens: int

    def best(self, place: int) -> list[tuple[str, float]]:
        """Return the labels of one text with their scores, the best first."""
        return sorted(zip(self.labels, self.scores[place], strict=True), key=lambda each: -each[1])


async def classify_texts(
    context: Context,
    exchange: Exchange,
    model: ServedModel,
    texts: Sequence[str],
    *,
    field: str,
    truncates: bool,
    raw: bool = False,
) -> Classes:
    """Return the scores of the model's labels; `raw` are logits. Raise `ApiError` if the model does not return them."""
    output = _LOGITS if raw else _SCORES
    spec = model.signature.outputs.get(output)
    if spec is None:
        raise ApiError("'raw_scores' is not supported: the model does not return its logits.", "raw_scores")
    counted = await count_texts(context, model, texts, field, truncates=truncates)

    def inputs(group: Sequence[int]) -> list[Tensor]:
        return [text_tensor("text", [texts[place] for place in group])]

    rows = await _scores(context, exchange, model, counted, output, inputs)
    labels = spec.labels or tuple(f"LABEL_{place}" for place in range(len(rows[0])))
    if len(labels) != len(rows[0]):
        raise internal(f"model '{model.name}' has {len(labels)} labels, but returned {len(rows[0])} scores")
    return Classes(labels, rows, counted.tokens)


async def choose_labels(
    context: Context,
    exchange: Exchange,
    model: ServedModel,
    texts: Sequence[str],
    labels: Sequence[str],
    *,
    truncates: bool,
) -> Classes:
    """Return the scores of labels that come with the request, of which there must be two at least."""
    if len(labels) < 2 or not all(labels):
        raise ApiError("'labels' must have at least two elements, none of them empty.", "labels")
    if any(len(label) > _LONGEST_LABEL for label in labels):
        raise ApiError(f"A text of 'labels' has more than {_LONGEST_LABEL} characters.", "labels")
    hypothesis = _hypothesis(context, model)
    hypotheses = [hypothesis.replace("{}", label) for label in labels]
    pairs = [(text, each) for text in texts for each in hypotheses]
    counted = await count_texts(context, model, pairs, "input", truncates=truncates)
    width = len(labels)
    lengths = [max(counted.lengths[start : start + width]) for start in range(0, len(pairs), width)]
    column = np.array([[label.encode() for label in labels]], dtype=np.object_)

    def inputs(group: Sequence[int]) -> list[Tensor]:
        shape = (len(group), width)
        repeated = Tensor("labels", "BYTES", shape, array=np.broadcast_to(column, shape).copy())
        return [text_tensor("text", [texts[place] for place in group]), repeated]

    whole = CountedTexts(texts, lengths, counted.tokens)
    return Classes(labels, await _scores(context, exchange, model, whole, _SCORES, inputs), counted.tokens)


def _hypothesis(context: Context, model: ServedModel) -> str:
    parameters = context.dataplane.model_config(model.purpose.tokenizer, "").parameters
    return parameters[_HYPOTHESIS].string_value if _HYPOTHESIS in parameters else "{}"


async def _scores(
    context: Context,
    exchange: Exchange,
    model: ServedModel,
    counted: CountedTexts,
    output: str,
    inputs: MakeInputs,
) -> list[list[float]]:
    job = RowJob(model.name, model.signature.max_batch_size, (output,), counted.lengths, inputs)
    rows = (await run_rows(context, exchange, job))[output]
    scores = [row.reshape(-1).tolist() for row in rows]
    if not all(map(np.isfinite, (score for row in scores for score in row))):
        raise internal("the model returned a score that is not finite")
    return scores
