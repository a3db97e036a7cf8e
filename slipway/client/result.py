"""`slipway.InferResult`: a response as numpy arrays by output name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from slipway.core.request import InferResponse, Parameter
from slipway.datatypes import BY_NAME
from slipway.errors import invalid, shown, unavailable
from slipway.nearest import nearest_or_all


class InferResult(Mapping[str, np.ndarray]):
    """One response: a mapping from output names to numpy arrays. Strings are object arrays of `bytes`; `texts` has them
    as `str`. Arrays may be read-only views of the received bytes."""

    __slots__ = ("_tensors", "id", "model", "parameters", "version")

    def __init__(self, response: InferResponse) -> None:
        self.model = response.model_name
        self.version = response.model_version
        self.id = response.id
        self.parameters: Mapping[str, Parameter] = response.parameters
        self._tensors = {tensor.name: tensor for tensor in response.outputs}

    def __getitem__(self, name: str) -> np.ndarray:
        """Return an output; raise KeyError for one that the response does not have."""
        if name not in self._tensors:
            raise KeyError(f"the response has no output '{shown(name)}'{nearest_or_all(name, self._tensors)}")
        tensor = self._tensors[name]
        try:
            return tensor.array
        except ValueError as error:
            what = f"{tensor.datatype} {list(tensor.shape)}"
            raise unavailable(f"output '{name}' of the response is not {what}: {error}") from None

    def __iter__(self) -> Iterator[str]:
        """Return the output names in the order of the response."""
        return iter(self._tensors)

    def __len__(self) -> int:
        """Return the number of outputs."""
        return len(self._tensors)

    def __repr__(self) -> str:
        outputs = ", ".join(f"{name}: {each.datatype} {list(each.shape)}" for name, each in self._tensors.items())
        return f"InferResult({self.model!r}, version {self.version!r}, {{{outputs}}})"

    def texts(self, name: str = "") -> list[str]:
        """Return the elements of a string output as a flat list; without a name, those of the only one.

        Raise INVALID_ARG if there is not exactly one, or for strings that are not UTF-8.
        """
        if not name:
            names = [each.name for each in self._tensors.values() if each.datatype == "BYTES"]
            if len(names) != 1:
                raise invalid(f"the response has {len(names)} string outputs ({', '.join(names)}): name one")
            name = names[0]
        array = self[name]
        if self._tensors[name].datatype != "BYTES":
            raise invalid(f"output '{name}' is {self._tensors[name].datatype}, not a string")
        try:
            return [_text(element) for element in array.ravel().tolist()]
        except UnicodeDecodeError as error:
            raise invalid(f"output '{name}' is not valid UTF-8: {error.reason} at byte {error.start}") from None

    def dtype(self, name: str) -> np.dtype:
        """Return the numpy type of an output."""
        return BY_NAME[self._tensors[name].datatype].numpy


def _text(element: bytes | str) -> str:
    return element.decode() if isinstance(element, bytes) else element
