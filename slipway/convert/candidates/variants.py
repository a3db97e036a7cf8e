"""The engines and precisions to try for an encoder or graph, and why one is skipped.

Knows what this machine can run, but not how a variant is built (build.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Final

from slipway.convert.options import AUTO, ConvertOptions
from slipway.convert.variants import Skipped, Variant, select
from slipway.errors import invalid
from slipway.installation import install_hint
from slipway.machine import gpu_count, has_bfloat16

ENGINES: Final = ("onnxruntime", "openvino", "pytorch", "tensorrt")
NO_GPU: Final = (
    "TensorRT needs an NVIDIA GPU and the package 'tensorrt', but this machine has {missing}; "
    "use --engine openvino or --engine onnxruntime instead"
)


SMOOTHED: Final = "smoothed"  # SmoothQuant moves activation outliers into the weights before quantising
PLAIN: Final = "plain"
PARTLY: Final = "partly"  # smoothed, but the layers that narrow the hidden state stay in floating point
DYNAMIC: Final = "dynamic"  # activations are quantised per request
# Added by --compare: the exported graph without fusions.
UNOPTIMISED: Final = Variant("onnxruntime", "fp32", "graph optimisation off", competes=False)

_LARGER_ONLY: Final = "on CPUs it halves the file size but not the time; request it with --engine and --precision"
_SLOWER: Final = "on CPUs it is slower than the other engines at the same precision; request it with --engine pytorch"


_TABLE: Final = (
    Variant("onnxruntime", "fp32"),
    Variant("onnxruntime", "fp16"),
    Variant("onnxruntime", "int8", DYNAMIC),
    Variant("openvino", "fp32"),
    Variant("openvino", "fp16"),
    Variant("openvino", "bf16"),
    # Which one is closest depends on the weights. Cosine to FP32, and rows/s at 32 and 128 tokens: trained MiniLM
    # smoothed 0.9976, 566; plain 0.9919, 581; partly 0.9985, 421. Random BERT-base 0.9993, 27; 0.9992, 29; 0.9990, 24.
    Variant("openvino", "int8", SMOOTHED),
    Variant("openvino", "int8", PLAIN),
    Variant("openvino", "int8", PARTLY),
    Variant("pytorch", "fp32"),
    Variant("pytorch", "bf16"),
    Variant("tensorrt", "fp32"),
    Variant("tensorrt", "fp16"),
)
GRAPH: Final = "onnx"
PROGRAM: Final = "pt2"
_NO_TORCH: Final = "an ONNX file cannot be converted to a torch model: choose the engine onnxruntime or openvino"
_LACKING: Final = {
    (GRAPH, "pytorch", "fp32"): _NO_TORCH,
    (GRAPH, "pytorch", "bf16"): _NO_TORCH,
    (PROGRAM, "pytorch", "bf16"): "a torch.export program keeps the number types that it was exported with",
}
_SURE: Final = Variant("pytorch", "fp32")
# Why --engine auto skips some variants.
_NOT_AUTOMATIC: Final = {
    Variant("onnxruntime", "fp16"): _LARGER_ONLY,
    Variant("openvino", "fp16"): _LARGER_ONLY,
    Variant("pytorch", "fp32"): _SLOWER,
    Variant("pytorch", "bf16"): _SLOWER,
}


def choose_variants(options: ConvertOptions, *, kind: str = "") -> tuple[list[Variant], list[Skipped]]:
    """Return the variants to try and to skip; raise INVALID_ARG if the requested one is unknown or cannot run. `kind`
    is that of the source: torch is always tried for a torch.export program, which other engines may fail to read, and
    never for an ONNX file."""
    if options.engine not in (AUTO, *ENGINES):
        raise invalid(
            f"engine '{options.engine}' only runs models that generate text; choose one of {', '.join(ENGINES)}"
        )
    automatic = options.engine == AUTO and options.precision in (AUTO, "fp32")

    def obstacle(variant: Variant) -> str:
        lacking = _LACKING.get((kind, variant.engine, variant.precision), "")
        passed_over = automatic and not (kind == PROGRAM and variant == _SURE)
        return lacking or _obstacle(variant) or (_NOT_AUTOMATIC.get(variant, "") if passed_over else "")

    tried, skipped = select(_TABLE, options, obstacle, kind="a model that does not generate text")
    compares = options.compare and any(variant.engine == "onnxruntime" for variant in tried)
    return [*tried, *([UNOPTIMISED] if compares else [])], skipped


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
