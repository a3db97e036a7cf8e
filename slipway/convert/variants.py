"""Which engines and precisions a conversion tries: a table, and the reasons why a row is left out.

Knows how nothing is built (build.py), only what there is on this machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Final

from slipway.errors import invalid
from slipway.installation import install_hint
from slipway.machine import gpu_count, has_bfloat16

AUTO: Final = "auto"
ENGINES: Final = ("onnxruntime", "openvino", "pytorch", "tensorrt")
PRECISIONS: Final = ("fp32", "fp16", "bf16", "int8")
NO_GPU: Final = (
    "TensorRT needs an NVIDIA GPU and the package 'tensorrt', and this machine has {missing}; "
    "--engine openvino or --engine onnxruntime make a model for this machine"
)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run the model. `method` tells rows of equal engine and precision apart."""

    engine: str
    precision: str
    method: str = ""

    @property
    def label(self) -> str:
        """Return the variant's name for people, such as `openvino int8 (smoothed)`."""
        return f"{self.engine} {self.precision}" + (f" ({self.method})" if self.method else "")

    @property
    def slug(self) -> str:
        """Return the variant's name for a directory."""
        return "-".join(filter(None, (self.engine, self.precision, self.method.replace(" ", "-"))))


@dataclass(frozen=True, slots=True)
class Skipped:
    """A variant that is not tried, and why."""

    label: str
    reason: str


SMOOTHED: Final = "smoothed"  # SmoothQuant moves outliers of activations into the weights before quantising
PLAIN: Final = "plain"
PARTLY: Final = "partly"  # smoothed, and the layers that narrow the hidden state keep their floats
DYNAMIC: Final = "dynamic"  # activations are quantised by what each request brings
UNOPTIMISED: Final = "graph optimisation off"

_LARGER_ONLY: Final = "it halves the file, not the time of a CPU; ask for it with --engine and --precision"
_SLOWER: Final = "on CPUs it is slower than the other engines at equal precision; ask for it with --engine pytorch"


@dataclass(frozen=True, slots=True)
class _Row:
    """A variant, and why `auto` passes it over ("" if it does not)."""

    variant: Variant
    not_automatic: str = ""


_TABLE: Final = (
    _Row(Variant("onnxruntime", "fp32")),
    _Row(Variant("onnxruntime", "fp16"), _LARGER_ONLY),
    _Row(Variant("onnxruntime", "int8", DYNAMIC)),
    _Row(Variant("openvino", "fp32")),
    _Row(Variant("openvino", "fp16"), _LARGER_ONLY),
    _Row(Variant("openvino", "bf16")),
    # Which of them is nearest depends on the weights. Cosine to FP32 and rows/s at 32 and 128 tokens: trained MiniLM
    # smoothed 0.9976, 566; plain 0.9919, 581; partly 0.9985, 421. Random BERT-base 0.9993, 27; 0.9992, 29; 0.9990, 24.
    _Row(Variant("openvino", "int8", SMOOTHED)),
    _Row(Variant("openvino", "int8", PLAIN)),
    _Row(Variant("openvino", "int8", PARTLY)),
    _Row(Variant("pytorch", "fp32"), _SLOWER),
    _Row(Variant("pytorch", "bf16"), _SLOWER),
    _Row(Variant("tensorrt", "fp32")),
    _Row(Variant("tensorrt", "fp16")),
)


def choose_variants(engine: str, precision: str) -> tuple[list[Variant], list[Skipped]]:
    """Return what to try and what not; raise INVALID_ARG when what is asked for does not exist or cannot run here."""
    if engine not in (AUTO, *ENGINES):
        raise invalid(f"engine '{engine}' runs models that generate text; for others choose {', '.join(ENGINES)}")
    asked = [
        row for row in _TABLE if engine in (AUTO, row.variant.engine) and precision in (AUTO, row.variant.precision)
    ]
    if not asked:
        has = dict.fromkeys(row.variant.precision for row in _TABLE if row.variant.engine == engine)
        raise invalid(f"engine '{engine}' has no precision '{precision}' here; it has: {', '.join(has)}")
    tried: list[Variant] = []
    skipped: list[Skipped] = []
    for row in asked:
        variant = row.variant
        reason = _obstacle(variant)
        if not reason and engine == AUTO and precision in (AUTO, "fp32"):
            reason = row.not_automatic
        if reason:
            skipped.append(Skipped(variant.label, reason))
        else:
            tried.append(variant)
    if not tried:
        raise invalid(f"nothing can be tried: {skipped[0].label}: {skipped[0].reason}")
    return tried, skipped


def _obstacle(variant: Variant) -> str:
    """Return why this machine cannot build or run a variant, "" if it can."""
    if variant.engine == "tensorrt":
        missing = [*([] if gpu_count() else ["no GPU"]), *([] if find_spec("tensorrt") else ["no such package"])]
        return NO_GPU.format(missing=" and ".join(missing)) if missing else ""
    needed: Sequence[str] = {"openvino": ("openvino",), "pytorch": ("torch",)}.get(variant.engine, ("onnxruntime",))
    if variant.engine == "openvino" and variant.precision == "int8":
        needed = ("openvino", "nncf")
    absent = [name for name in needed if find_spec(name) is None]
    if absent:
        extra = "openvino" if variant.engine == "openvino" else "convert"
        return f"{' and '.join(absent)} is not installed: {install_hint(extra)}"
    if variant.precision == "bf16" and not has_bfloat16():
        return "this CPU has no bfloat16 instructions"
    return ""
