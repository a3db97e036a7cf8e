"""A tensor2tensor model, for the `model.py` that `slipway convert` and `tritonc` write: texts, ids or serialized
examples in; ids, scores and texts out.

Independent of protocols: a request consists of arrays by name and an `AnswerSink`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.checkpoints.tensor2tensor.decode_hparams import DecodeHParams
from slipway.checkpoints.tensor2tensor.example import decode_example
from slipway.checkpoints.tensor2tensor.export import read_trained
from slipway.errors import SlipwayError, invalid, shown, unsupported
from slipway.runtime.arguments import MOST_UNKNOWN
from slipway.runtime.checkpoint_model import CACHE
from slipway.runtime.engine_model import AnswerSink, EngineModel
from slipway.runtime.shared_engines import acquire_engine
from slipway.runtime.translation import EMPTY, Translation
from slipway.transformer.dispatch import GenerationRequest
from slipway.transformer.generation import Hypothesis, SequenceRequest
from slipway.transformer.options import EngineOptions

TEXT: Final = "INPUT_TEXT"  # BYTES [rows, 1]
IDS: Final = "inputs"  # INT32 [rows, tokens], padded with 0
EXAMPLE: Final = "input"  # BYTES [rows, 1]: serialized tf.train.Examples, what tensor2tensor's own exports read
FORMS: Final = (TEXT, IDS, EXAMPLE)
OUTPUT_IDS, SCORES, OUTPUT_TEXT = "outputs", "scores", "OUTPUT_TEXT"
ARGUMENTS: Final = {"beam_size": "INT32", "alpha": "FP32", "extra_length": "INT32"}  # optional, [rows, 1]
SETTINGS: Final = ("beam_size", "alpha", "extra_length", "return_beams", "max_input_size")  # parameters of the config


class Tensor2TensorModel(EngineModel[AnswerSink]):
    """A model in `directory` (an export, see `checkpoints/tensor2tensor/export.py`), opened with the `parameters` of
    its config: ENGINE, COMPUTE_TYPE, DEVICE and THREADS as for `GenerationModel`, and the decoding settings.

    Raise `SlipwayError` naming what is missing or damaged.
    """

    def __init__(self, directory: Path, parameters: Mapping[str, str], *, name: str) -> None:
        export = read_trained(directory)
        settings = _configured(export.settings, parameters)
        self._translation = Translation(export.checkpoint.spec, export.vocabulary, settings)
        options = EngineOptions.of(parameters, directory / CACHE)
        typical = SequenceRequest(np.ones(1, np.int64), self._translation.decoding(1, settings))
        super().__init__(acquire_engine(directory, export.checkpoint, options, name=name, typical=typical))

    def _request(self, inputs: Mapping[str, np.ndarray], sink: AnswerSink) -> _Request:
        """Return the request as rows; raise `SlipwayError` naming every invalid row and the reason."""
        _check_names(inputs)
        forms = [form for form in FORMS if form in inputs]
        if len(forms) != 1:
            given = " and ".join(forms) or "none of them"
            raise invalid(f"a request needs exactly one of the inputs {', '.join(FORMS)}, got {given}")
        values = inputs[forms[0]]
        rows = np.atleast_2d(values).astype(np.int64) if forms[0] == IDS else values.reshape(-1).tolist()
        settings = _requested(self._translation.settings, inputs, len(rows))
        asked: list[SequenceRequest | None] = []
        problems = []
        for index, (row, own) in enumerate(zip(rows, settings, strict=True)):
            try:
                asked.append(self._row(forms[0], row, own))
            except SlipwayError as error:
                problems.append(f"row {index}: {error.message}")
        if problems:
            raise invalid("; ".join(problems))
        return _Request(self._translation, asked, settings, sink)

    def _row(self, form: str, value: Any, settings: DecodeHParams) -> SequenceRequest | None:
        if form == IDS:
            ids = value
        elif form == EXAMPLE:
            ids = _ids_of_example(value)
        else:
            encoded = self._translation.encode(_decoded(value))
            if encoded is None:
                return None
            ids = encoded
        row = self._translation.row(ids, settings)
        refusal = self._engine.refusal(row)
        if refusal:
            raise unsupported(f"not supported by this model's engine: {refusal}")
        return row


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a row of the request is among the rows that are computed, None for a text without characters."""

    settings: DecodeHParams
    computed: int | None


class _Request(GenerationRequest):
    """A request that passes its results to its sink."""

    def __init__(
        self,
        translation: Translation,
        rows: Sequence[SequenceRequest | None],
        settings: Sequence[DecodeHParams],
        sink: AnswerSink,
    ) -> None:
        super().__init__([row for row in rows if row is not None])
        self._translation = translation
        self._sink = sink
        self._places: list[_Place] = []
        count = 0
        for row, own in zip(rows, settings, strict=True):
            self._places.append(_Place(own, None if row is None else count))
            count += row is not None

    def token(self, row: int, token: int, log_probability: float, figure: float) -> bool:  # noqa: ARG002
        """Return whether the client is gone."""
        return not self._sink.wanted()

    def wanted(self) -> bool:
        """Return whether the client is still waiting."""
        return self._sink.wanted()

    def answer(self) -> None:
        """Pass on the ids, scores and texts of all rows."""
        translation = self._translation
        found = [
            translation.beams([EMPTY] if place.computed is None else self.results[place.computed], place.settings)
            for place in self._places
        ]
        self._sink.answer(_arrays(translation, found))

    def fail(self, error: SlipwayError) -> None:
        """Pass on the error."""
        self._sink.fail(error)


def _arrays(translation: Translation, found: Sequence[Sequence[Hypothesis]]) -> dict[str, np.ndarray]:
    """Return the outputs: ids [rows, tokens], or [rows, beams, tokens] if beams are returned, padded with 0; scores and
    texts [rows, beams], of one beam if they are not."""
    beams = max((len(row) for row in found), default=1)
    longest = max((len(each.ids) for row in found for each in row), default=0)
    ids = np.zeros((len(found), beams, longest), np.int32)
    scores = np.full((len(found), beams), -1e7, np.float32)
    texts = np.full((len(found), beams), b"", np.object_)
    for index, row in enumerate(found):
        for place, each in enumerate(row):
            ids[index, place, : len(each.ids)] = each.ids
            scores[index, place] = each.score
            texts[index, place] = translation.text(each.ids).encode(errors="replace")
    every = translation.settings.return_beams
    return {OUTPUT_IDS: ids if every else ids[:, 0], SCORES: scores, OUTPUT_TEXT: texts}


def _configured(settings: DecodeHParams, parameters: Mapping[str, str]) -> DecodeHParams:
    """Return the settings with those of a config's parameters; raise INVALID_ARG naming every invalid one."""
    kinds: dict[str, Any] = {each.name: type(each.default) for each in fields(DecodeHParams)}
    changes: dict[str, Any] = {}
    for name in SETTINGS:
        if name in parameters:
            text = parameters[name]
            try:
                changes[name] = text == "true" if kinds[name] is bool else kinds[name](text)
            except ValueError:
                raise invalid(f"parameter '{name}' is '{shown(text)}', expected a number") from None
    return replace(settings, **changes)


def _requested(settings: DecodeHParams, inputs: Mapping[str, np.ndarray], rows: int) -> list[DecodeHParams]:
    """Return the settings of each row; raise INVALID_ARG if an argument is out of range or not one value per row."""
    changes: list[dict[str, Any]] = [{} for _ in range(rows)]
    for name, datatype in ARGUMENTS.items():
        if name not in inputs:
            continue
        column = inputs[name].reshape(-1).tolist()
        if len(column) not in (1, rows):
            raise invalid(f"input '{name}' has {len(column)} values for {rows} rows, expected one per row")
        for row, change in enumerate(changes):
            value = column[row if len(column) == rows else 0]
            change[name] = _number(name, value, whole=datatype == "INT32")
    return [replace(settings, **change) for change in changes]


def _number(name: str, value: Any, *, whole: bool) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or (whole and value != int(value)):
        raise invalid(f"'{name}' is {shown(value)}, expected a {'whole ' if whole else ''}number")
    return int(value) if whole else float(value)


def _check_names(inputs: Mapping[str, np.ndarray]) -> None:
    known = (*FORMS, *ARGUMENTS)
    problems = []
    for name in [name for name in inputs if name not in known][:MOST_UNKNOWN]:
        near = get_close_matches(shown(name), known, n=1)
        advice = f"did you mean '{near[0]}'?" if near else f"known ones are {', '.join(ARGUMENTS)}"
        problems.append(f"parameter '{shown(name)}' is unknown: {advice}")
    if problems:
        raise invalid("; ".join(problems))


def _decoded(value: Any) -> str:
    if isinstance(value, str):
        return value
    try:
        return bytes(value).decode()
    except UnicodeDecodeError as error:
        raise invalid(f"the text is not valid UTF-8 (byte {error.start + 1})") from None


def _ids_of_example(value: Any) -> np.ndarray:
    features = decode_example(value if isinstance(value, bytes) else str(value).encode())
    if "inputs" not in features:
        raise invalid(f"the example has no feature 'inputs', only {', '.join(map(shown, features)) or 'none'}")
    return np.array(features["inputs"], np.int64)
