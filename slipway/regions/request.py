"""Requests whose tensors are in regions: values that decoders make and the engine carries out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import Self

from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor, UnreadTensor
from slipway.errors import SlipwayError, internal
from slipway.regions.region import RegionPlace


class PlacedInput(UnreadTensor):
    """An input in a region, which has not been read."""

    __slots__ = ("place",)

    def __init__(self, name: str, datatype: str, shape: tuple[int, ...], place: RegionPlace) -> None:
        super().__init__(name, datatype, shape, place.size)
        self.place = place

    def read(self) -> Tensor:
        """Return the tensor with a copy of its bytes; raise `SlipwayError` if they are not there any more."""
        return Tensor(self.name, self.datatype, self.shape, raw=self.place.read())


class PlacedOutput(Tensor):
    """An output that was written to a region: it has a shape, and no bytes for the response."""

    __slots__ = ()

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor.name, tensor.datatype, tensor.shape, raw=b"")


@dataclass(slots=True, eq=False)
class PlacedRequest(InferRequest):
    """A request with inputs in regions (`PlacedInput`), or with outputs for them (`places`, by name)."""

    places: Mapping[str, RegionPlace] = field(default_factory=dict)

    @classmethod
    def of(cls, request: InferRequest, places: Mapping[str, RegionPlace]) -> Self:
        """Return `request` with the places of its outputs."""
        return cls(**{each.name: getattr(request, each.name) for each in fields(InferRequest)}, places=places)

    def all_places(self) -> Iterator[RegionPlace]:
        """Yield the place of each tensor that is in a region."""
        for tensor in self.inputs.values():
            if isinstance(tensor, PlacedInput):
                yield tensor.place
        yield from self.places.values()

    def read_inputs(self) -> list[Tensor]:
        """Replace the inputs in regions by copies, which are returned, and count the strings of large ones; raise
        `SlipwayError`."""
        placed = {name: tensor for name, tensor in self.inputs.items() if isinstance(tensor, PlacedInput)}
        for name, tensor in placed.items():
            self.inputs[name] = tensor.read()
        self.count_strings()
        return [self.inputs[name] for name in placed]


def too_small(name: str, available: int, needed: int) -> SlipwayError:
    """Return the error, Triton's, for an output of `needed` bytes that does not fit into its place."""
    return internal(
        f"shared memory size specified with the request for output '{name}' ({available} bytes) should be at least "
        f"{needed} bytes to hold the results"
    )
