"""What the code between the fronts sees of a request's trace: it passes it on, and asks for children of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class TraceReference(NamedTuple):
    """A trace as a model knows it: its number, and the context for spans of its own (JSON with `traceparent`), "" if
    there is none."""

    number: int
    context: str = ""


class Trace(Protocol):
    """The trace of one request, or of a request that it led to."""

    def child(self) -> Trace | None:
        """Return the trace of a request that this one leads to; None if there cannot be one."""

    def reference(self) -> TraceReference:
        """Return what a model may know of it; as long as the trace lives, its number leads back to it."""


@dataclass(frozen=True, slots=True)
class ReferredTrace:
    """A trace that lives elsewhere: in the server, or with the model that wants a child of it. Implements `Trace`."""

    to: TraceReference

    def child(self) -> None:
        """Return None: only the server makes children, of the trace that the reference leads to."""

    def reference(self) -> TraceReference:
        """Return the reference."""
        return self.to
