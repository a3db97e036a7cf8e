"""The automatic choice of engine: torch, or another on a CPU if it does exactly what is requested and is faster.

In float32 torch is faster than CTranslate2 and keeps the weights in memory once. T5-base, two cores of Zen 5, tokens/s:
one row torch 101, CTranslate2 74; eight rows 470 and 278. In int8 they are close (151 and 137, 774 and 734) and the
faster one depends on the processor, so both are measured. Decoder-only models have OpenVINO as the other candidate,
below float32, and not CTranslate2, whose rows cannot join a running batch. Another engine must be clearly faster,
because torch runs every row and shares its threads with other models (`torch_engine/compute_thread.py`). Opens engines
through functions; knows none.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Final

from slipway.errors import SlipwayError
from slipway.machine import has_bfloat16
from slipway.transformer.conversion_cache import default_directory
from slipway.transformer.ctranslate2 import support
from slipway.transformer.generation import SequenceRequest, TransformerEngine, collect
from slipway.transformer.openvino import support as openvino
from slipway.transformer.options import INSTALL, INSTALLS, EngineOptions, installed
from slipway.transformer.spec import Transformer
from slipway.transformer.trial import fastest, remember, remembered, trial_row

LIBRARIES: Final = {"torch": "torch", "ctranslate2": "CTranslate2", "openvino": "OpenVINO"}  # as in messages
OPENVINO_TYPES: Final = ("bfloat16", "int8", "int4")
CPU_TYPES: Final = ("float32", "int8")  # the types in which CTranslate2 computes on a CPU


def why_torch(spec: Transformer, options: EngineOptions, typical: SequenceRequest | None = None) -> str:
    """Return why torch is chosen without a trial, "" if a trial is needed; `typical` is as in `open_engine`."""
    if options.device != "cpu":
        return "the engine for CUDA"
    if options.compute_type == "float32" and installed("torch"):
        return "faster than CTranslate2 in float32, with the weights in memory once"
    if spec.continues and installed("torch"):
        return "its rows join a running batch, which CTranslate2 does not have"
    if not installed("ctranslate2"):
        return f"CTranslate2 is not installed: {INSTALL}"
    if options.compute_type not in CPU_TYPES:
        return f"CTranslate2 computes on a CPU in {' and '.join(CPU_TYPES)}, not in {options.compute_type}"
    cannot = support.why_not(spec) or support.refusal(spec, typical or trial_row(spec))
    return f"CTranslate2 does not support: {cannot}" if cannot else ""


def candidates(
    spec: Transformer, options: EngineOptions, typical: SequenceRequest | None = None
) -> tuple[list[str], str]:
    """Return the names of the engines that can compute a model, torch first, and why there are no others."""
    without_torch = options.compute_type == "int4"
    not_ctranslate2 = why_torch(spec, options, typical)
    not_openvino = why_not_openvino(spec, options, typical)
    others = [*([] if not_ctranslate2 else ["ctranslate2"]), *([] if not_openvino else ["openvino"])]
    torch = [] if without_torch or (others and not installed("torch")) else ["torch"]
    return [*torch, *others], not_openvino if without_torch else not_ctranslate2


def small_choice(names: Sequence[str]) -> str:
    """Return which of the candidates runs a model that is too small to measure."""
    return "ctranslate2" if "ctranslate2" in names else names[0]


def why_not_openvino(spec: Transformer, options: EngineOptions, typical: SequenceRequest | None = None) -> str:
    """Return why OpenVINO is not a candidate, "" if it is."""
    if options.device != "cpu":
        return "OpenVINO computes on the CPU"
    if options.compute_type not in OPENVINO_TYPES:
        return f"OpenVINO is tried in {', '.join(OPENVINO_TYPES)}, not in {options.compute_type}"
    if options.compute_type == "bfloat16" and not has_bfloat16():
        return "this CPU does not have bfloat16 instructions"
    missing = [library for library in ("openvino", "torch") if not installed(library)]  # torch chooses the tokens
    if missing:
        return f"{' and '.join(missing)} not installed: {INSTALLS['openvino']}"
    cannot = openvino.why_not(spec) or openvino.refusal(typical or trial_row(spec))
    if not cannot:
        return openvino.too_old()
    return f"OpenVINO does not support: {cannot}"


def fastest_engine(
    spec: Transformer, options: EngineOptions, openers: Mapping[str, Callable[[], TransformerEngine]]
) -> tuple[str, str, TransformerEngine]:
    """Return the reason for torch ("" for another), the name of the engine that is fastest on this machine, and the
    engine. `openers` are the engines by name, the first of which the others must clearly beat.

    The result is remembered per architecture, since speed does not depend on the weights. If another engine cannot be
    tried, or cannot be opened any more (for example, because the converted model does not fit on the disk), the engine
    is the first.
    """
    directory, question = options.cache_directory or default_directory(), _question(spec, options, openers)
    row = trial_row(spec)

    def run(engine: TransformerEngine, batch: int) -> None:
        if row.decoding is None:
            engine.encode([row] * batch)
        else:
            collect(engine, [row] * batch)

    first, *others = openers
    words = " and ".join(LIBRARIES[name] for name in others)
    choice = remembered(directory, question)
    try:
        if choice in openers:
            engine = openers[choice]()
        else:
            choice, engine = fastest(tuple(openers), lambda name: openers[name](), run, lambda engine: engine.close())
            remember(directory, question, choice)
    except SlipwayError as error:
        if choice == first:
            raise
        chosen = choice in openers
        failed = f"{LIBRARIES[choice]}, the fastest, could not be opened" if chosen else f"{words} could not be tried"
        return f"{failed}: {error.message}", first, openers[first]()
    are = "is" if len(others) == 1 else "are"
    reason = f"{words} {are} not faster on this machine, as measured" if choice == first else ""
    return reason, choice, engine


def _question(spec: Transformer, options: EngineOptions, names: Iterable[str]) -> str:
    architecture = hashlib.sha256(repr(spec).encode()).hexdigest()[:16]
    libraries = ", ".join(f"{library} {version(library)}" for library in names)
    setting = f"{options.compute_type}, {options.threads} threads, {options.workers} workers"
    return f"engine of {architecture}, {setting}, {libraries}"
