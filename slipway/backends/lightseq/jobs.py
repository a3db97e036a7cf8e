"""Turn requests to LightSeq models into jobs for the engine, and the results into LightSeq's output tensors.

One reader per task. Knows neither batches nor schedulers: `generation.py` and `single_pass.py` of `backends/shared/`
run the jobs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from slipway.backends.lightseq.decoding import DecodingRules, row_seed, seed_of
from slipway.backends.lightseq.requests import TokenInput
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import invalid
from slipway.transformer.generation import Encoded, Hypothesis, SequenceRequest
from slipway.transformer.spec import Vision


@dataclass(slots=True)
class TranslationJob:
    """Source ids to `target_ids` INT32 [rows, K, L] and `target_scores` FP32 [rows, K].

    L is the length of the request's longest hypothesis; shorter ones are filled up with the end token. The last column
    is always the end token, even for hypotheses that were cut off.
    """

    request: InferRequest
    rows: Sequence[SequenceRequest]
    rules: DecodingRules
    columns: int

    def answer(self, results: Sequence[Sequence[Hypothesis]]) -> list[Tensor]:
        """Return ids and scores, the best hypothesis of each row first."""
        shape = (len(results), self.rules.width)
        longest = max((self._columns(one) for row in results for one in row), default=1)
        ids = np.full((*shape, longest), self.rules.end_id, np.int32)
        scores = np.zeros(shape, np.float32)
        for row, hypotheses in enumerate(results):
            for place, hypothesis in enumerate(hypotheses):
                kept = hypothesis.ids[: longest - 1]
                ids[row, place, : len(kept)] = kept
                scores[row, place] = self.rules.score(hypothesis)
        return _chosen(self.request, {"target_ids": ids, "target_scores": scores})

    def _columns(self, hypothesis: Hypothesis) -> int:
        ended = hypothesis.ids[-1:] == (self.rules.end_id,)
        return min(self.columns, len(hypothesis.ids) + (not ended))


@dataclass(frozen=True, slots=True)
class TranslationReader:
    """Makes jobs from requests to encoder-decoder models."""

    tokens: TokenInput
    rules: DecodingRules
    seed: int | None = None

    def __call__(self, request: InferRequest) -> TranslationJob:
        """Return the job of `request`; raise INVALID_ARG for one that the model cannot take."""
        batch = self.tokens.read(request)
        self.tokens.check_filled(request, batch)
        columns, seed = self.rules.columns(batch.length), seed_of(request, self.seed)
        rows = [
            SequenceRequest(
                row.ids,
                self.rules.translation(columns, row_seed(seed, index)),
                source_language=row.source_language,
                target_language=row.target_language,
            )
            for index, row in enumerate(batch.rows)
        ]
        return TranslationJob(request, rows, self.rules, columns)


@dataclass(slots=True)
class ContinuationJob:
    """Prompts to `result` INT32 [rows, L]: each prompt without its padding, its continuation, and end tokens."""

    request: InferRequest
    prompts: Sequence[np.ndarray]
    end_id: int
    rows: Sequence[SequenceRequest] = ()
    open: Sequence[int] = ()  # the prompts that leave room to continue: one row each

    def answer(self, results: Sequence[Sequence[Hypothesis]]) -> list[Tensor]:
        """Return prompts and continuations as one tensor."""
        following = {index: row[0].ids for index, row in zip(self.open, results, strict=True)}
        whole = [[*prompt, *following.get(index, ())] for index, prompt in enumerate(self.prompts)]
        ids = np.full((len(whole), max(map(len, whole), default=0)), self.end_id, np.int32)
        for row, tokens in zip(ids, whole, strict=True):
            row[: len(tokens)] = tokens
        return _chosen(self.request, {"result": ids})


@dataclass(frozen=True, slots=True)
class ContinuationReader:
    """Makes jobs from requests to decoder-only models that generate."""

    tokens: TokenInput
    rules: DecodingRules
    seed: int | None = None

    def __call__(self, request: InferRequest) -> ContinuationJob:
        """Return the job of `request`; raise INVALID_ARG for one that the model cannot take."""
        batch = self.tokens.read(request)
        self.tokens.check_filled(request, batch)
        seed = seed_of(request, self.seed)
        prompts = [row.ids for row in batch.rows]
        decodings = [self.rules.continuation(len(ids), row_seed(seed, index)) for index, ids in enumerate(prompts)]
        rows = {
            index: SequenceRequest(prompts[index], decoding) for index, decoding in enumerate(decodings) if decoding
        }
        return ContinuationJob(request, prompts, self.rules.end_id, list(rows.values()), list(rows))


@dataclass(slots=True)
class ScoringJob:
    """Texts to `result` FP32 [rows]: the mean negative log-probability of each row's tokens after the first."""

    request: InferRequest
    rows: Sequence[SequenceRequest]

    def answer(self, scores: Sequence[float]) -> list[Tensor]:
        """Return one score per row."""
        return _chosen(self.request, {"result": np.array(scores, np.float32)})


@dataclass(frozen=True, slots=True)
class ScoringReader:
    """Makes jobs from requests to decoder-only models whose file says `ppl`."""

    tokens: TokenInput

    def __call__(self, request: InferRequest) -> ScoringJob:
        """Return the job of `request`; raise INVALID_ARG for rows with fewer than two tokens."""
        batch = self.tokens.read(request)
        self.tokens.check_filled(request, batch, least=2)
        return ScoringJob(request, [SequenceRequest(row.ids) for row in batch.rows])


@dataclass(slots=True)
class LightSeqHiddenStates:
    """Ids or pixels to `encoder_output` FP32 [rows, length, hidden], with zeros where a row has padding."""

    request: InferRequest
    rows: Sequence[SequenceRequest]
    open: Sequence[int]  # the rows of the answer that are not all padding: one engine row each
    shape: tuple[int, int, int]
    attentions: bool = False

    def answer(self, results: Sequence[Encoded]) -> list[Tensor]:
        """Return the hidden states as one tensor."""
        states = np.zeros(self.shape, np.float32)
        for index, result in zip(self.open, results, strict=True):
            states[index, : len(result.hidden)] = result.hidden
        return _chosen(self.request, {"encoder_output": states})


@dataclass(frozen=True, slots=True)
class TextEncodingReader:
    """Makes jobs from requests to text encoders."""

    tokens: TokenInput
    hidden: int

    def __call__(self, request: InferRequest) -> LightSeqHiddenStates:
        """Return the job of `request`; raise INVALID_ARG for one that the model cannot take."""
        batch = self.tokens.read(request)
        rows = {index: SequenceRequest(row.ids) for index, row in enumerate(batch.rows) if len(row.ids)}
        return LightSeqHiddenStates(
            request, list(rows.values()), list(rows), (len(batch.rows), batch.length, self.hidden)
        )


@dataclass(frozen=True, slots=True)
class ImageEncodingReader:
    """Makes jobs from requests to image encoders."""

    name: str
    vision: Vision
    hidden: int

    def __call__(self, request: InferRequest) -> LightSeqHiddenStates:
        """Return the job of `request`; raise INVALID_ARG for images of another size."""
        images = request.inputs[self.name].array
        images = images[None] if images.ndim == 3 else images
        expected = (self.vision.channels, self.vision.image_size, self.vision.image_size)
        if images.shape[1:] != expected:
            raise invalid(
                f"{request.log_prefix}input '{self.name}' of model '{request.model_name}' has shape "
                f"{list(images.shape)}, expected [rows, {', '.join(map(str, expected))}]"
            )
        no_ids = np.zeros(0, np.int64)
        rows = [SequenceRequest(no_ids, pixels=np.ascontiguousarray(image, np.float32)) for image in images]
        return LightSeqHiddenStates(request, rows, range(len(rows)), (len(rows), self.vision.tokens, self.hidden))


def _chosen(request: InferRequest, arrays: dict[str, np.ndarray]) -> list[Tensor]:
    """Return the arrays that `request` asks for, or all of them if it names none."""
    wanted = request.outputs or tuple(arrays)
    return [Tensor.from_array(name, array) for name, array in arrays.items() if name in wanted]
