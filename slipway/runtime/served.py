"""What the models that `slipway convert` writes for generation run on: token ids in, token ids out.

Used by their model.py files, in Slipway and in NVIDIA Triton (`pip install "slipway[generate]"` into the Python that
runs Triton's models). Models of one process that name the same checkpoint share one engine. Knows no protocol: a
request is arrays by name and a `Reply`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Final, Protocol

import numpy as np

from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.errors import SlipwayError, cancelled, invalid, unsupported
from slipway.runtime.arguments import FORCED, NUM_RETURN, Values, decoding_of, default_values, read_values
from slipway.transformer.engines import RoutingEngine, open_engine
from slipway.transformer.generation import Hypothesis, SequenceRequest
from slipway.transformer.options import EngineOptions
from slipway.transformer.spec import Positions

IDS: Final = "input_ids"
MASK: Final = "attention_mask"
CACHE: Final = "ctranslate2"  # folder of the converted weights, beside the checkpoint
_LONGEST: Final = 4096  # generated tokens where positions set no limit; the parameter LONGEST_OUTPUT changes it


class Reply(Protocol):
    """Where the answer to one request goes. Called on the engine's thread."""

    def token(self, row: int, token: int) -> bool:
        """A row that is not searched with beams has one token more. Return True when nobody wants the rest."""

    def wanted(self) -> bool:
        """Return whether anybody still waits; asked of requests that are searched with beams."""

    def answer(self, arrays: Mapping[str, np.ndarray]) -> None:
        """The request is done: its output tensors."""

    def fail(self, error: SlipwayError) -> None:
        """The request cannot be answered, and why."""


@dataclass(slots=True)
class _Shared:
    """An engine and how many models use it."""

    engine: RoutingEngine
    users: int = 0


_shared: dict[tuple[object, ...], _Shared] = {}
_lock = Lock()


@dataclass(slots=True)
class _Request:
    """One request in the engine; `results` are the hypotheses of its rows so far."""

    rows: Sequence[SequenceRequest]
    wanted: Sequence[int]  # hypotheses to be answered, per row
    reply: Reply
    results: dict[int, Sequence[Hypothesis]] = field(default_factory=dict)
    stopped: bool = False
    tokens: int = 0

    @property
    def open(self) -> bool:
        return len(self.results) < len(self.rows)


class GenerationModel:
    """A checkpoint with its engine, opened from the directory that holds config.json and the weights.

    `parameters` are the config's: ENGINE, COMPUTE_TYPE, DEVICE, THREADS, LONGEST_OUTPUT, and the default of each
    argument under its own name. Raise `SlipwayError` saying what is missing or damaged.
    """

    def __init__(self, directory: Path, parameters: Mapping[str, str], *, name: str) -> None:
        checkpoint = read_huggingface(directory)
        self._spec = checkpoint.spec
        if checkpoint.spec.decoder is None:
            raise unsupported(f"'{directory}' is an encoder alone and generates nothing")
        self._decoder = checkpoint.spec.decoder
        self._end_ids = checkpoint.end_ids or (checkpoint.spec.end_id,)
        self._pad = checkpoint.padding_id if checkpoint.padding_id is not None else self._end_ids[0]
        self._defaults = default_values(parameters)
        self._longest = int(parameters.get("LONGEST_OUTPUT", _LONGEST))
        self._defaults.setdefault("max_tokens", min(128, self._longest))
        options = EngineOptions(
            engine=parameters.get("ENGINE", "auto"),
            compute_type=parameters.get("COMPUTE_TYPE", "float32"),
            device=parameters.get("DEVICE", "cpu"),
            threads=int(parameters.get("THREADS", "0")),
            cache_directory=directory / CACHE,
        )
        self._key: tuple[object, ...] = (directory.resolve(), options)
        self._engine = _acquire(self._key, checkpoint, options, name)

    @property
    def description(self) -> str:
        """Which engine computes, and why that one."""
        return self._engine.description

    def close(self) -> None:
        """Release the engine; the last model that shares it frees the weights."""
        with _lock:
            shared = _shared[self._key]
            shared.users -= 1
            if shared.users == 0:
                del _shared[self._key]
                shared.engine.close()

    def run(self, asked: Sequence[tuple[Mapping[str, np.ndarray], Reply]]) -> None:
        """Generate for all requests together; each is answered as soon as its own rows are done."""
        requests: list[_Request] = []
        for inputs, reply in asked:
            try:
                requests.append(self._request(inputs, reply))
            except SlipwayError as error:
                reply.fail(error)
        for request in requests:
            if not request.rows:
                _answer(request, self._pad)
        self._generate([request for request in requests if request.rows])

    def _generate(self, requests: Sequence[_Request]) -> None:
        rows = [row for request in requests for row in request.rows]
        if not rows:
            return
        try:
            self._engine.generate(rows, _Dispatch(requests, self._pad))
        except SlipwayError as error:
            for request in [each for each in requests if each.open]:
                if len(requests) > 1 and not request.tokens:  # it may have been its neighbour's fault
                    request.results.clear()
                    self._generate([request])
                else:
                    request.reply.fail(error)

    def _request(self, inputs: Mapping[str, np.ndarray], reply: Reply) -> _Request:
        """Return the request as rows; raise `SlipwayError` naming the row and what it may not be."""
        ids = np.atleast_2d(inputs[IDS]).astype(np.int64)
        mask = np.atleast_2d(inputs.get(MASK, np.ones_like(ids))) != 0
        if mask.shape != ids.shape:
            raise invalid(f"'{IDS}' has shape {list(ids.shape)} and '{MASK}' {list(mask.shape)}, expected the same")
        values = read_values(inputs, len(ids), self._defaults)
        rows, problems = [], []
        for index, (row, kept, each) in enumerate(zip(ids, mask, values, strict=True)):
            try:
                rows.append(self._row(row[kept], each, inputs))
            except SlipwayError as error:
                problems.append(f"row {index}: {error.message}")
        if problems:
            raise invalid("; ".join(problems))
        return _Request(rows, [int(each[NUM_RETURN]) for each in values], reply)

    def _row(self, ids: np.ndarray, values: Values, inputs: Mapping[str, np.ndarray]) -> SequenceRequest:
        if not ids.size:
            raise invalid("it has no tokens")
        vocabulary = (self._spec.encoder or self._decoder).vocabulary
        if ids.min() < 0 or ids.max() >= vocabulary:
            raise invalid(f"its ids reach from {ids.min()} to {ids.max()}, the vocabulary has {vocabulary}")
        encoder = self._spec.encoder
        if encoder is not None and encoder.positions is Positions.TABLE and ids.size > encoder.position_rows:
            raise invalid(f"it has {ids.size} tokens, and the encoder has {encoder.position_rows} positions")
        if values.get(FORCED, 0) >= self._decoder.vocabulary:
            raise invalid(f"{FORCED} is {values[FORCED]:g}, the vocabulary has {self._decoder.vocabulary}")
        most = self._most_tokens(ids.size)
        if "max_output_len" in inputs and values["max_tokens"] > most:
            raise invalid(f"max_output_len is {values['max_tokens']:g}, and {most} tokens are possible")
        decoding = decoding_of(values, most_tokens=most, start_id=self._spec.start_id, end_ids=self._end_ids)
        row = SequenceRequest(ids, decoding)
        refusal = self._engine.refusal(row)
        if refusal:
            raise unsupported(f"this model's engine cannot do {refusal}")
        return row

    def _most_tokens(self, tokens: int) -> int:
        """Return how many tokens a row can get: the table of positions ends, and a prompt takes its share of it."""
        if self._decoder.positions is not Positions.TABLE:
            return self._longest
        taken = 0 if self._spec.has_cross_attention else tokens
        left = self._decoder.position_rows - taken
        if left < 1:
            raise invalid(f"its {tokens} tokens leave none of {self._decoder.position_rows} positions to generate")
        return min(left, self._longest)


class _Dispatch:
    """Passes what the engine reports of its rows to the requests they belong to. A `generation.GenerationListener`.

    Holds nothing that leads to the engine: CTranslate2's threads let go of a listener late, and may not end it.
    """

    def __init__(self, requests: Sequence[_Request], pad: int) -> None:
        self._pad = pad
        self._owners = [(request, row) for request in requests for row in range(len(request.rows))]

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Pass one token on."""
        request, index = self._owners[row]
        request.tokens += 1
        request.stopped = request.stopped or request.reply.token(index, token)
        return request.stopped

    def wanted(self, row: int) -> bool:
        """Return whether the row's client still waits."""
        request, _ = self._owners[row]
        request.stopped = request.stopped or not request.reply.wanted()
        return not request.stopped

    def done(self, row: int, hypotheses: Sequence[Hypothesis]) -> None:
        """Keep a row's hypotheses; answer when it was the last."""
        request, index = self._owners[row]
        request.results[index] = hypotheses
        if not request.open:
            _answer(request, self._pad)


def _answer(request: _Request, pad: int) -> None:
    """Answer with the hypotheses of all rows, padded to the longest."""
    if request.stopped:
        request.reply.fail(cancelled())
        return
    count = max(request.wanted, default=1)
    chosen = [list(request.results[row])[:wanted] for row, wanted in enumerate(request.wanted)]
    longest = max((len(each.ids) for row in chosen for each in row), default=0)
    ids = np.full((len(chosen), count, longest), pad, np.int64)
    lengths = np.zeros((len(chosen), count), np.int64)
    totals = np.zeros((len(chosen), count), np.float32)
    for row, hypotheses in enumerate(chosen):
        for place, each in enumerate(hypotheses):
            ids[row, place, : len(each.ids)] = each.ids
            lengths[row, place] = len(each.ids)
            totals[row, place] = each.log_probability
    request.reply.answer({"output_ids": ids, "sequence_length": lengths, "cum_log_probs": totals})


def _acquire(
    key: tuple[object, ...], checkpoint: HuggingFaceCheckpoint, options: EngineOptions, name: str
) -> RoutingEngine:
    with _lock:
        shared = _shared.get(key)
        if shared is None:
            shared = _shared[key] = _Shared(open_engine(checkpoint.spec, checkpoint.weights, options, name=name))
        shared.users += 1
        return shared.engine
