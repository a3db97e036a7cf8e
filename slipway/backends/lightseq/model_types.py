"""LightSeq's model types, with the inputs and outputs of each.

The table follows LightSeq's own registry and example configurations. Knows no file format and no engine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Final

from slipway.errors import invalid


class LightSeqTask(Enum):
    """What a model type does with a request."""

    TRANSLATE = "translate"  # source ids to target ids and scores
    CONTINUE = "continue"  # a prompt to the prompt and its continuation, or to its perplexity
    ENCODE = "encode"  # ids to hidden states
    ENCODE_IMAGES = "encode images"  # pixels to hidden states


@dataclass(frozen=True, slots=True)
class DeclaredTensor:
    """An input or output as a configuration declares it. `rank` counts the batch dimension."""

    name: str
    datatype: str  # as in config.pbtxt, for example TYPE_INT32
    rank: int


@dataclass(frozen=True, slots=True)
class LightSeqInterface:
    """The tensors of a task."""

    input: DeclaredTensor
    outputs: tuple[DeclaredTensor, ...]


_HIDDEN_STATES: Final = (DeclaredTensor("encoder_output", "TYPE_FP32", 3),)  # [rows, tokens, hidden]

INTERFACES: Final[Mapping[LightSeqTask, LightSeqInterface]] = {
    LightSeqTask.TRANSLATE: LightSeqInterface(
        DeclaredTensor("source_ids", "TYPE_INT32", 2),
        (DeclaredTensor("target_ids", "TYPE_INT32", 3), DeclaredTensor("target_scores", "TYPE_FP32", 2)),
    ),
    LightSeqTask.CONTINUE: LightSeqInterface(
        DeclaredTensor("token_ids", "TYPE_INT32", 2), (DeclaredTensor("result", "TYPE_INT32", 2),)
    ),
    LightSeqTask.ENCODE: LightSeqInterface(DeclaredTensor("token_ids", "TYPE_INT32", 2), _HIDDEN_STATES),
    LightSeqTask.ENCODE_IMAGES: LightSeqInterface(DeclaredTensor("pixel_values", "TYPE_FP32", 4), _HIDDEN_STATES),
}
# A Gpt whose file says `ppl` scores instead of generating: one number per row.
SCORING: Final = LightSeqInterface(
    DeclaredTensor("token_ids", "TYPE_INT32", 2), (DeclaredTensor("result", "TYPE_FP32", 1),)
)

TASKS: Final[Mapping[str, LightSeqTask]] = {
    "Transformer": LightSeqTask.TRANSLATE,
    "QuantTransformer": LightSeqTask.TRANSLATE,
    "Moe": LightSeqTask.TRANSLATE,
    "T5": LightSeqTask.TRANSLATE,
    "MT5": LightSeqTask.TRANSLATE,
    "Bert": LightSeqTask.ENCODE,
    "QuantBert": LightSeqTask.ENCODE,
    "Gpt": LightSeqTask.CONTINUE,
    "QuantGpt": LightSeqTask.CONTINUE,
    "Vit": LightSeqTask.ENCODE_IMAGES,
    "QuantVit": LightSeqTask.ENCODE_IMAGES,
}


def task_of(model_type: str, model_name: str) -> LightSeqTask:
    """Return the task of `model_type`; raise INVALID_ARG, listing all types, for one that LightSeq does not have."""
    try:
        return TASKS[model_type]
    except KeyError:
        given = f"is '{model_type}'" if model_type else "is missing"
        raise invalid(
            f"Model not supported: parameter 'model_type' of model '{model_name}' {given}; "
            f"write one of {', '.join(TASKS)}"
        ) from None
