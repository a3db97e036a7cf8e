"""A graph as a conversion sees it: its interface, rows to run, and whether rows are independent, found by running it.

Rows come from a sample, or are made up in sizes that the graph accepts. `backends/shared/probing.py` finds shapes by
running; `described.py` decides which dims of a graph a config declares.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Protocol

from slipway.backends.shared.graph import Graph, GraphTensor
from slipway.backends.shared.probing import Run, Sizes, find_sizes, settled, working_sizes
from slipway.convert.arrays import Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.convert.comparison import distance
from slipway.convert.encoders.declared import DeclaredInput
from slipway.convert.encoders.described import interface_of, to_graph, to_request
from slipway.convert.encoders.given import GivenSampler, read_sample, settled_by
from slipway.convert.encoders.sampling import InputSampler
from slipway.convert.thresholds import TOLERANCE
from slipway.errors import SlipwayError, invalid

_USUAL: Final = (1, 9, 64)  # of made-up rows, if the graph accepts any size
_ROWS: Final = 4  # of a batch whose rows are compared with the same rows run alone
SAMPLE_HINT: Final = "give typical inputs with --sample FILE.npz, an array for each of"


class InputSource(Protocol):
    """Inputs to run a model with."""

    def cases(self) -> Iterable[Case]:
        """Return the inputs for the gate."""

    def sample(self, length: int, rows: int) -> Arrays:
        """Return a batch to measure with."""

    def calibration(self) -> list[Arrays]:
        """Return single rows to quantise with."""

    def example(self) -> Arrays:
        """Return two rows to trace a module with."""

    def unknown_ranges(self) -> tuple[str, ...]:
        """Return the integer inputs with unknown range."""


@dataclass(frozen=True, slots=True)
class Explored:
    """A graph that has been run; `path` is its file, for messages."""

    path: Path
    graph: Graph
    run: Run
    interface: Interface
    sampler: InputSource

    def example(self) -> Arrays:
        """Return two rows to trace a module with, in the graph's shapes."""
        return to_graph(self.sampler.example(), self.graph, self.interface)

    def answer(self, rows: Arrays) -> Arrays:
        """Return the outputs of the graph itself; rows and outputs have the shapes of requests and responses."""
        names = [spec.name for spec in self.interface.outputs]
        try:
            answers = self.run(to_graph(rows, self.graph, self.interface), names)
        except SlipwayError as error:
            shapes = {name: list(array.shape) for name, array in rows.items()}
            hint = "" if isinstance(self.sampler, GivenSampler) else f"; {SAMPLE_HINT} {', '.join(shapes)}"
            raise invalid(f"source '{self.path}' fails on inputs {shapes}: {error.message}{hint}") from error
        return to_request({name: answers[name] for name in names}, self.interface)


def explore(
    graph: Graph, run: Run, limits: Mapping[str, int], *, sample: Path | None, path: Path, cause: str = ""
) -> Explored:
    """Return the graph with its interface and sample inputs; without batches if its rows are not independent, with
    `cause` as the explanation. Raise INVALID_ARG if the graph fails on all made-up inputs."""
    graph = settled(graph, run) if sample is None else settled_by(sample, graph, run)
    explored = _explored(graph, run, limits, sample, path)
    why = _row_dependence(explored)
    if not why:
        return explored
    return _explored(replace(graph, unbatched=f"{why}{cause}"), run, limits, sample, path)


def _explored(graph: Graph, run: Run, limits: Mapping[str, int], sample: Path | None, path: Path) -> Explored:
    interface = interface_of(graph)
    if sample is not None:
        given = GivenSampler(sample, graph, interface)
        return Explored(path, graph, run, replace(interface, sizes=given.sizes()), given)
    sizes = _sizes(graph, interface, run, path)
    made_up = InputSampler(interface, limits, sizes)
    interface = replace(interface, unknown_ranges=made_up.unknown_ranges(), sizes=sizes.sizes if sizes else ())
    return Explored(path, graph, run, interface, made_up)


def _sizes(graph: Graph, interface: Interface, run: Run, path: Path) -> Sizes | None:
    """Return sizes that work, None if any size seems to."""
    strings = any(spec.datatype == "BYTES" for spec in interface.inputs)  # the sampler refuses them
    if strings or not any(-1 in spec.dims for spec in interface.inputs):
        return None
    if len(list(working_sizes(graph, run, _USUAL))) == len(_USUAL):
        return None
    found = find_sizes(graph, run)
    if found is None:
        raise invalid(
            f"'{path}' fails on all made-up inputs, in every size that was tried: "
            f"{SAMPLE_HINT} {', '.join(graph.inputs)}"
        )
    return found


def _row_dependence(explored: Explored) -> str:
    """Return how rows of a batch affect each other in the model itself, "" if they do not."""
    interface = explored.interface
    if interface.max_batch_size == 0:
        return ""
    batch = explored.sampler.sample(interface.sizes[0] if interface.sizes else _USUAL[1], _ROWS)
    try:
        together = explored.answer(batch)
        rows = [explored.answer({name: array[row : row + 1] for name, array in batch.items()}) for row in range(_ROWS)]
    except SlipwayError:
        return ""  # the gate runs it again, and reports what fails
    for name, array in together.items():
        for row, alone in enumerate(rows):
            if len(array) != _ROWS or len(alone[name]) != 1:
                counts = f"{len(array)} for {_ROWS}, {len(alone[name])} for 1"
                return f"the rows of output '{name}' are not those of the inputs (it returned {counts})"
            if distance(array[row], alone[name][0]).relative > TOLERANCE:
                return f"the values of output '{name}' for a row depend on the other rows of its batch"
    return ""


def ranked(graph: Graph, declared: Sequence[DeclaredInput], sample: Path | None, path: Path) -> Graph:
    """Return the graph with the dims of inputs that have no shape in it, as declared or from the sample; raise
    INVALID_ARG, with what to do, if neither has them."""
    missing = [name for name, tensor in graph.inputs.items() if not tensor.ranked]
    if not missing:
        return graph
    arrays = read_sample(sample, list(graph.inputs)) if sample else {}
    dims = {name: (-1,) * array.ndim for name, array in arrays.items()}
    dims |= {each.spec.name: each.spec.dims for each in declared}
    unknown = [name for name in missing if name not in dims]
    if unknown:
        datatype = graph.inputs[unknown[0]].config_type.removeprefix("TYPE_")
        raise invalid(
            f"'{path}' does not specify the shape of input '{unknown[0]}', or even its number of dims: declare it with "
            f"--input {unknown[0]}:{datatype}:DIMS (such as -1,16), or give --sample FILE.npz with an array per input"
        )
    return replace(graph, inputs={name: _given(each, dims) for name, each in graph.inputs.items()})


def _given(tensor: GraphTensor, dims: Mapping[str, tuple[int, ...]]) -> GraphTensor:
    return tensor if tensor.ranked else replace(tensor, dims=dims[tensor.name], ranked=True)
