"""A model's inputs and outputs, frozen for the hot path.

Built once per load from the normalised ModelConfig (config/signature.py); `core/check.py` checks requests against it.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway.core.padding import PaddingRule
from slipway.core.ragged import NOTHING_RAGGED, RaggedBatch


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One declared input or output. `dims` excludes the batch dimension; -1 is variable.

    `reshape` is the backend's shape if it differs from `dims`, else None. `labels` holds the lines of the label file.
    """

    name: str
    datatype: str
    dims: tuple[int, ...]
    reshape: tuple[int, ...] | None = None
    optional: bool = False
    ragged: bool = False
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ModelSignature:
    """The declared inputs and outputs of one model version; `max_batch_size` 0 means no batch dimension.

    `padding` says how requests of different lengths may be batched; None means they may not. `ragged` names the tensors
    that depend on the requests of a batch.
    """

    model_name: str
    max_batch_size: int
    inputs: dict[str, TensorSpec]
    outputs: dict[str, TensorSpec]
    decoupled: bool = False
    required_inputs: frozenset[str] = frozenset()
    enforce_output_shapes: bool = False
    padding: PaddingRule | None = None
    ragged: RaggedBatch = NOTHING_RAGGED
    has_string_outputs: bool = field(init=False)

    def __post_init__(self) -> None:
        """Work out once what every response depends on."""
        has_strings = any(spec.datatype == "BYTES" for spec in self.outputs.values())
        object.__setattr__(self, "has_string_outputs", has_strings)
