"""The flags of `slipway serve` for sources that are not model repositories, which it converts before it serves them.

They are those of `slipway convert` with the same values; the converter itself is not imported for them (a test compares
both). Converts nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Final

from slipway.config.flags import BOOLEAN, Kind, choice, option
from slipway.config.trace_settings import TracingFlags

AUTO: Final = "auto"
EXACT: Final = "fp32"  # the precision that keeps every digit
ENGINES: Final = ("onnxruntime", "openvino", "pytorch", "tensorrt", "ctranslate2", "torch")
PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8", "int4")
ACCURACIES: Final = ("high", "balanced", "fast")
TASKS: Final = (
    "embedding", "hidden-states", "text-classification", "token-classification", "question-answering", "fill-mask",
    "reranking", "zero-shot", "image-classification", "object-detection", "image-embedding", "text-embedding",
    "text2text-generation", "translation", "summarization", "text-generation", "image-to-text", "document-reading",
    "page-elements",
)  # fmt: skip

_conversion = partial(option, "Conversion of sources that are not repositories")


@dataclass(frozen=True, slots=True)
class ConversionFlags(TracingFlags):
    """How sources are converted; the field `x_y` is the flag `--x-y`."""

    name: tuple[str, ...] = _conversion(
        (), Kind("NAME", str),
        "model name that clients request, one per converted source in their order (default: that of the source)",
        gather=tuple,
    )  # fmt: skip
    engine: str = _conversion(
        AUTO, choice(AUTO, *ENGINES), "engine that runs the model; auto is the fastest that passes the gate"
    )
    precision: str = _conversion(
        AUTO, choice(AUTO, *PRECISIONS),
        "number type; auto is the fastest that passes the gate, fp32 keeps every digit",
    )  # fmt: skip
    accuracy: str = _conversion(
        "balanced", choice(*ACCURACIES), "limit on the accuracy that a reduced precision may lose"
    )
    task: str = _conversion(
        "",
        Kind("TASK", choice(*TASKS).read),
        f"task of the model: {', '.join(TASKS)} (default: detected from its head)",
    )  # fmt: skip
    input: tuple[str, ...] = _conversion(
        (), Kind("NAME:TYPE:DIMS", str),
        "input of a TorchScript file, in the order of its arguments, or one whose shape an ONNX "
        "graph omits",
        gather=tuple,
    )  # fmt: skip
    fast: bool = _conversion(
        False, BOOLEAN,
        "serve the fp32 form at once, convert the faster one in the background, and swap it in when it has passed the "
        "gate",
    )  # fmt: skip


def conversion_problems(flags: ConversionFlags) -> Iterator[str]:
    """Yield what contradicts itself."""
    if flags.fast and flags.precision == EXACT:
        yield f"--fast has nothing to swap in with --precision={EXACT}"
