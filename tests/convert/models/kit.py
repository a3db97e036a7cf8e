"""Run a model that `slipway convert` writes as the python backend would, without a server."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np

from slipway.backends.python.errors import TritonError
from slipway.backends.python.importing import ImportSpace
from slipway.backends.python.model import PythonModel
from slipway.backends.python.reply import ReplyState
from slipway.backends.python.response import InferenceResponse
from slipway.backends.python.scope import ModelScope
from slipway.backends.python.surface import build_surface
from slipway.backends.python.tensor import ModelTensor
from slipway.convert.models import model_source
from slipway.core.request import InferRequest
from slipway.errors import SlipwayError


class Heard:
    """All responses to one request. It counts as cancelled after `stays` responses."""

    def __init__(self, stays: int | None = None) -> None:
        self.responses: list[InferenceResponse | None] = []
        self.finals: list[bool] = []
        self.abandoned = False
        self.ended = Event()
        self._stays = stays

    def send(self, response: InferenceResponse | None, final: bool) -> None:
        self.responses.append(response)
        self.finals.append(final)
        if final:
            self.ended.set()

    def is_cancelled(self) -> bool:
        return self._stays is not None and len(self.responses) >= self._stays

    def abandon(self) -> None:
        self.abandoned = True
        self.ended.set()

    @property
    def error(self) -> TritonError | None:
        """The error in the last response."""
        last = self.responses[-1]
        return None if last is None else last.error()

    def arrays(self) -> dict[str, np.ndarray]:
        """Return the tensors of the only response."""
        [response] = self.responses
        assert response is not None
        assert response.error() is None, response.error().message()
        return {tensor.name(): tensor.as_numpy() for tensor in response.output_tensors()}


class OpenedModel:
    """An initialised model."""

    def __init__(self, model: PythonModel, surface: Any, module: Any, *, decoupled: bool) -> None:
        self.module = module
        self._model = model
        self._surface = surface
        self._decoupled = decoupled

    def ask(self, **arrays: np.ndarray) -> dict[str, np.ndarray]:
        """Return the outputs of one request."""
        [heard] = self.execute([arrays])
        return heard.arrays()

    def refusal(self, **arrays: np.ndarray) -> tuple[str, str]:
        """Return the code and message of the error response to one request."""
        [heard] = self.execute([arrays])
        assert heard.error is not None
        return heard.error.code().name, heard.error.message()

    def execute(
        self,
        asked: Sequence[Mapping[str, np.ndarray]],
        stays: Sequence[int | None] = (),
        parameters: Mapping[str, Any] | None = None,
    ) -> list[Heard]:
        """Run the requests, each with the `parameters`, as one batch and return the responses to each."""
        heard = [Heard(each) for each in stays or [None] * len(asked)]
        requests = [
            self._surface.InferenceRequest.received(
                InferRequest("m", parameters=dict(parameters or {})),
                [ModelTensor(name, array) for name, array in arrays.items()],
                (),
                ReplyState(sink, self._decoupled),
            )
            for arrays, sink in zip(asked, heard, strict=True)
        ]
        for sink, answer in zip(heard, self._model.execute(requests), strict=True):
            if isinstance(answer, SlipwayError):
                raise answer
            if answer is not None:
                sink.send(answer, final=True)
        del requests
        for sink in heard:
            assert sink.ended.wait(60), "a request was not answered"
        return heard


@contextmanager
def opened(
    directory: Path,
    source: str,
    *,
    inputs: Sequence[str] = (),
    outputs: Sequence[str] = (),
    parameters: Mapping[str, str] | None = None,
    files: Mapping[str, str] | None = None,
    decoupled: bool = False,
) -> Iterator[OpenedModel]:
    """Yield an initialised model whose model.py has the text `source`, with `files` next to it."""
    version = directory / "1"
    version.mkdir(parents=True, exist_ok=True)
    for name, text in {"model.py": source, **(files or {})}.items():
        (version / name).write_text(text, encoding="utf-8")
    config = {
        "input": [{"name": name} for name in inputs],
        "output": [{"name": name} for name in outputs],
        "parameters": {key: {"string_value": value} for key, value in (parameters or {}).items()},
    }
    scope = ModelScope(None, "m_0", str(directory), str(version))  # type: ignore[arg-type]  no model asks the server
    surface = build_surface(scope)
    space = ImportSpace([version], surface)
    space.open()
    model = PythonModel(scope, "m", decoupled)
    try:
        module = space.import_module("model")
        arguments = {"model_repository": str(directory), "model_version": "1", "model_name": "m"}
        model.start(module, {**arguments, "model_config": json.dumps(config)})
        yield OpenedModel(model, surface, module, decoupled=decoupled)
        model.finalize()
    finally:
        space.close()


@contextmanager
def written(directory: Path, name: str, **settings: Any) -> Iterator[OpenedModel]:
    """Yield the model `name` as it is currently written."""
    with opened(directory, model_source(name), **settings) as model:
        yield model


def texts(*rows: Sequence[str]) -> np.ndarray:
    """Return BYTES [rows, n]."""
    array = np.empty((len(rows), len(rows[0]) if rows else 1), dtype=np.object_)
    for place, row in enumerate(rows):
        array[place] = [each.encode() for each in row]
    return array


def words(array: np.ndarray) -> list[list[str]]:
    """Return BYTES [rows, n] as text."""
    return [[each.decode() for each in row] for row in array.tolist()]
