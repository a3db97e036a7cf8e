"""What identifies a model of a server: its name and, with --model-namespacing, the namespace that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, order=True)
class ModelId:
    """The namespace of a model, which is its repository, and its name. Without namespaces, the namespace of every model
    is "", so that the name alone identifies it. As text, it is written as Triton writes it."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}::{self.name}" if self.namespace else self.name
