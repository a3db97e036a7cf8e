"""The dataflow of an ensemble: which steps can run, on which tensors, and when a response is complete.

Pure: tensors can be any values, and nothing is executed here. The names of ensemble tensors connect the steps. A
decoupled step may send any number of responses to a call; each response after the first opens a new *iteration*.
Tensors are only combined within one iteration; `mixed_origins` checks that an ensemble needs no other combination. A
run ends when nothing is ready and no call is open, so it cannot hang.
Source: Triton `ensemble_scheduler.cc` and responses of tritonserver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class EnsembleStep:
    """One step of an ensemble; `inputs` and `outputs` map the model's tensor names to ensemble tensors."""

    index: int
    model_name: str
    model_version: str  # "" for the latest
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]


@dataclass(eq=False, slots=True)
class StepCall(Generic[Value]):
    """A step to run on `inputs` (with its model's names); `outputs` are the names of the outputs that are needed."""

    step: EnsembleStep
    iteration: int
    inputs: dict[str, Value]
    outputs: tuple[str, ...]
    answers: int = 0


class EnsembleGraph:
    """The steps that lead to `outputs`, the users of each ensemble tensor (index -1: the ensemble's response), and the
    steps that come `before` each one."""

    def __init__(self, steps: Iterable[EnsembleStep], outputs: Iterable[str]) -> None:
        self.steps = tuple(steps)
        self.outputs = tuple(outputs)
        self.needs = {step.index: frozenset(step.inputs.values()) for step in self.steps}
        self.needs[ANSWER] = frozenset(self.outputs)
        self.users: dict[str, list[int]] = {}
        for index, names in self.needs.items():
            for name in names:
                self.users.setdefault(name, []).append(index)
        made = {tensor for step in self.steps for tensor in step.outputs.values()}
        self.sources = tuple(name for name in self.users if name not in made)  # the ensemble's own inputs
        self.by_index = {step.index: step for step in self.steps}
        self.wanted = {
            step.index: tuple(name for name, tensor in step.outputs.items() if tensor in self.users)
            for step in self.steps
        }
        self.before = {step.index: frozenset(self._makers(step.inputs.values())) - {step.index} for step in self.steps}

    def pruned(self, outputs: Sequence[str]) -> EnsembleGraph:
        """Return the graph of only those steps on which `outputs` depend."""
        kept = self._makers(outputs)
        return EnsembleGraph((kept[index] for index in sorted(kept)), outputs)

    def _makers(self, tensors: Iterable[str]) -> dict[int, EnsembleStep]:
        """Return the steps on which `tensors` depend, by index."""
        makers = {tensor: step for step in self.steps for tensor in step.outputs.values()}
        found: dict[int, EnsembleStep] = {}
        open_names = list(tensors)
        while open_names:
            step = makers.get(open_names.pop())
            if step is not None and step.index not in found:
                found[step.index] = step
                open_names.extend(step.inputs.values())
        return found


ANSWER = -1


class EnsembleRun(Generic[Value]):
    """One request in progress. After each event, take calls from `calls` and responses from `answers`."""

    def __init__(self, graph: EnsembleGraph, inputs: Mapping[str, Value]) -> None:
        self._graph = graph
        # per iteration and tensor: its value (None: the step's response lacks it) and how many users still need it
        self._tensors: dict[int, dict[str, tuple[Value | None, int]]] = {}
        self._iterations = 0
        self._open = 0
        self.calls: deque[StepCall[Value]] = deque()
        self.answers: deque[dict[str, Value]] = deque()
        self._store(0, {name: inputs.get(name) for name in graph.sources})

    @property
    def steps(self) -> tuple[EnsembleStep, ...]:
        """The steps of the graph."""
        return self._graph.steps

    def before(self, step: EnsembleStep) -> frozenset[int]:
        """Return the indices of the steps whose responses lead to calls of `step`."""
        return self._graph.before[step.index]

    @property
    def done(self) -> bool:
        """Return whether no call is ready or open."""
        return not self.calls and self._open == 0

    def take(self) -> StepCall[Value]:
        """Return the next call to make; it is open until its final response."""
        self._open += 1
        return self.calls.popleft()

    def answer(self, call: StepCall[Value], outputs: Mapping[str, Value] | None, *, final: bool) -> None:
        """Take one response to an open call: its outputs by the model's names, or None for an empty final response."""
        if final:
            self._open -= 1
        if outputs is None:
            return
        iteration = call.iteration
        if call.answers:
            self._iterations += 1
            iteration = self._iterations
        call.answers += 1
        names = call.step.outputs
        self._store(iteration, {names[name]: outputs.get(name) for name in call.outputs})

    def _store(self, iteration: int, tensors: Mapping[str, Value | None]) -> None:
        graph = self._graph
        known = self._tensors.setdefault(iteration, {})
        for name, value in tensors.items():
            known[name] = (value, len(graph.users[name]))
        touched = sorted({index for name in tensors for index in graph.users[name]})
        for index in touched:
            if graph.needs[index] <= known.keys():
                self._fire(index, iteration, known)
        if not known:
            del self._tensors[iteration]

    def _fire(self, index: int, iteration: int, known: dict[str, tuple[Value | None, int]]) -> None:
        """Make the call or response whose last tensor has arrived, and drop the tensors that no other step needs."""
        values = {name: known[name][0] for name in self._graph.needs[index]}
        if index == ANSWER:
            ordered = ((name, values[name]) for name in self._graph.outputs)
            self.answers.append({name: value for name, value in ordered if value is not None})
        else:
            step = self._graph.by_index[index]
            pairs = ((name, values[tensor]) for name, tensor in step.inputs.items())
            inputs = {name: value for name, value in pairs if value is not None}
            self.calls.append(StepCall(step, iteration, inputs, self._graph.wanted[index]))
        for name in values:
            value, users = known[name]
            if users == 1:
                del known[name]
            else:
                known[name] = (value, users - 1)


def mixed_origins(graph: EnsembleGraph, decoupled: Callable[[EnsembleStep], bool]) -> EnsembleStep | None:
    """Return a step (or, for the ensemble's response, the last step) that combines tensors from different decoupled
    steps, which Triton refuses because nothing shows which of their responses belong together."""
    makers = {tensor: step for step in graph.steps for tensor in step.outputs.values()}
    known: dict[str, frozenset[int]] = {}

    def origins(tensor: str, above: frozenset[str]) -> frozenset[int]:
        if tensor in known or tensor in above:  # a cycle has no origin; it is refused elsewhere
            return known.get(tensor, frozenset())
        step = makers.get(tensor)
        if step is None:
            found = frozenset((ANSWER,))
        elif decoupled(step):
            found = frozenset((step.index,))
        else:
            found = frozenset().union(*(origins(name, above | {tensor}) for name in step.inputs.values()))
        known[tensor] = found
        return found

    for step in graph.steps:
        if len(frozenset().union(*(origins(name, frozenset()) for name in step.inputs.values()))) > 1:
            return step
    if len(frozenset().union(*(origins(name, frozenset()) for name in graph.outputs))) > 1:
        return graph.steps[-1]
    return None
