"""The library's three kinds of model behind one set of calls, ids in and ids out, with its failures as our errors.

Knows nothing about exactness, conversion or the cache.
"""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import ctranslate2
import numpy as np

from slipway.errors import SlipwayError, internal, invalid, unavailable
from slipway.transformer.ctranslate2.batches import BeamOptions, CallGroup, SuppressedTokens
from slipway.transformer.spec import Transformer

VERSION: Final[str] = ctranslate2.__version__
COMPUTE_TYPES: Final = {"cpu": ("float32", "int8"), "cuda": ("float32", "float16", "bfloat16", "int8")}
# Any length to this power is 1, as with 0; but 0 makes the library end a search early, with fewer hypotheses.
NO_PENALTY: Final = 1e-30

_open_models: weakref.WeakSet[CTranslate2Model] = weakref.WeakSet()

Ids = Sequence[int] | np.ndarray
Callback = Callable[[Any], bool]
Finished = tuple[tuple[int, ...], float]  # ids and score


def check_device(device: str, compute_type: str) -> None:
    """Raise UNAVAILABLE or INVALID_ARG if a device ("cpu", "cuda", "cuda:1") cannot compute in a type."""
    kind, index = split_device(device)
    if compute_type not in COMPUTE_TYPES.get(kind, ()):
        choices = ", ".join(COMPUTE_TYPES.get(kind, ()))
        raise invalid(f"CTranslate2 computes on '{kind}' in {choices or 'nothing'}, not in {compute_type}")
    if kind == "cuda" and index >= ctranslate2.get_cuda_device_count():
        count = ctranslate2.get_cuda_device_count()
        raise unavailable(f"device '{device}' does not exist: CTranslate2 finds {count} CUDA devices")
    supported = ctranslate2.get_supported_compute_types(kind, index)
    if compute_type not in supported:
        raise unavailable(f"device '{device}' cannot compute in {compute_type}, only in {', '.join(sorted(supported))}")


def split_device(device: str) -> tuple[str, int]:
    """Return the kind and the index of a device."""
    kind, _, index = device.partition(":")
    return kind, int(index or 0)


class CTranslate2Model:
    """One loaded model. Calls may come from several threads; `workers` of them compute at the same time."""

    def __init__(self, spec: Transformer, model: Any) -> None:
        """Take a model that the library has loaded."""
        self._spec = spec
        self._vocabulary = spec.decoder.vocabulary if spec.decoder is not None else 0
        self._open: Any = model
        _open_models.add(self)

    @classmethod
    def load(
        cls, spec: Transformer, path: Path, *, device: str, compute_type: str, threads: int, workers: int
    ) -> CTranslate2Model:
        """Load the model in the directory `path`."""
        kinds = {(True, False): ctranslate2.Encoder, (False, True): ctranslate2.Generator}
        kind = kinds.get((spec.encoder is not None, spec.decoder is not None), ctranslate2.Translator)
        name, index = split_device(device)
        model = kind(
            str(path),
            name,
            device_index=index,
            compute_type=compute_type,
            inter_threads=workers,
            intra_threads=threads,
        )
        return cls(spec, model)

    def greedy(self, sources: Sequence[Ids], starts: Sequence[int], callback: Callback, group: CallGroup) -> None:
        """Generate until the callback has ended every row. `starts` are for models with an encoder."""
        # An end token is given only to be banned: [] means that no token ends a row, None means the model's own.
        with failures():
            self._generate(sources, starts, group, beam_size=1, callback=callback)

    def beam(
        self, sources: Sequence[Ids], starts: Sequence[int], group: CallGroup, beam: BeamOptions
    ) -> list[list[Finished]]:
        """Return each row's finished hypotheses, best first."""
        with failures():
            results = self._generate(
                sources,
                starts,
                group,
                beam_size=beam.width,
                num_hypotheses=beam.width,
                length_penalty=beam.length_penalty or NO_PENALTY,
                return_end_token=True,
            )
        ids = "sequences_ids" if self._spec.encoder is None else "hypotheses"
        return [
            [
                (tuple(map(int, tokens)), score)
                for tokens, score in zip(getattr(result, ids), result.scores, strict=True)
            ]
            for result in results
        ]

    def _generate(self, sources: Sequence[Ids], starts: Sequence[int], group: CallGroup, **options: Any) -> Any:
        bans = group.bans
        options["return_scores"] = True
        options["suppress_sequences"] = [[str(token)] for token in bans.tokens if token < self._vocabulary]
        options["end_token"] = [str(bans.end_id)] if bans.end_id in range(self._vocabulary) else []
        if self._spec.encoder is None:
            limits = {"max_length": group.max_tokens, "min_length": bans.min_tokens}
            return self._model.generate_batch(_names(sources), include_prompt_in_result=False, **limits, **options)
        limits = {"max_decoding_length": group.max_tokens, "min_decoding_length": bans.min_tokens}
        targets = [[str(start)] for start in starts]
        return self._model.translate_batch(_names(sources), targets, max_input_length=0, **limits, **options)

    def encode(self, rows: Sequence[Ids]) -> np.ndarray:
        """Return the last hidden states, float32 [rows, longest, hidden]."""
        with failures():
            output = self._model.forward_batch([list(map(int, row)) for row in rows])
            on_cpu = output.last_hidden_state.to_device(ctranslate2.Device.cpu)
            return np.array(on_cpu.to(ctranslate2.DataType.float32))

    def score(self, rows: Sequence[Ids]) -> list[list[float]]:
        """Return the log-probability of each row's own tokens after the first."""
        with failures():
            return [list(result.log_probs) for result in self._model.score_batch(_names(rows), max_input_length=0)]

    def trial(self, ids: Ids, batch: int) -> None:
        """Do a little typical work to be timed: read `ids` and generate the same number of tokens."""
        rows = [ids] * batch
        if self._spec.decoder is None:
            self.encode(rows)
        else:
            group = CallGroup(tuple(range(batch)), SuppressedTokens(), len(ids))
            self.greedy(rows, [0] * batch, lambda _: False, group)

    def close(self) -> None:
        """Release the weights as soon as no call uses them."""
        self._open = None  # the library's own `unload_model` leaves threads that abort the process when it exits

    @property
    def _model(self) -> Any:
        if self._open is None:
            raise unavailable("the engine is closed")
        return self._open


@atexit.register
def _close_all() -> None:
    """Close open models before the interpreter exits: a model that outlives it aborts the process."""
    for library in list(_open_models):
        library.close()


@contextmanager
def failures() -> Iterator[None]:
    """Map the library's errors to ours, once, at the edge."""
    try:
        yield
    except SlipwayError:
        raise  # an error of a listener
    except (RuntimeError, ValueError, MemoryError) as error:
        raise internal(f"CTranslate2 failed: {error}") from error


def _names(rows: Sequence[Ids]) -> list[list[str]]:
    return [[str(token) for token in row] for row in rows]
