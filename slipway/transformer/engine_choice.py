"""The automatic choice of engine: torch, or CTranslate2 on a CPU if it does exactly what is requested and is faster.

In float32 torch is faster and keeps the weights in memory once. T5-base, two cores of Zen 5, tokens/s: one row torch
101, CTranslate2 74; eight rows 470 and 278. In int8 they are close (151 and 137, 774 and 734) and the faster one
depends on the processor, so both are measured. CTranslate2 must be clearly faster, because torch runs every row and
shares its threads with other models (`torch_engine/compute_thread.py`). Opens engines through functions; knows neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from slipway.errors import SlipwayError
from slipway.transformer.conversion_cache import default_directory
from slipway.transformer.ctranslate2 import support
from slipway.transformer.generation import SequenceRequest, TransformerEngine, collect
from slipway.transformer.options import INSTALL, EngineOptions, installed
from slipway.transformer.spec import Transformer
from slipway.transformer.trial import fastest, remember, remembered, trial_row

CPU_TYPES: Final = ("float32", "int8")  # the types in which CTranslate2 computes on a CPU


def why_torch(spec: Transformer, options: EngineOptions, typical: SequenceRequest | None = None) -> str:
    """Return why torch is chosen without a trial, "" if a trial is needed; `typical` is as in `open_engine`."""
    if options.device != "cpu":
        return "the engine for CUDA"
    if options.compute_type == "float32" and installed("torch"):
        return "faster than CTranslate2 in float32, with the weights in memory once"
    if not installed("ctranslate2"):
        return f"CTranslate2 is not installed: {INSTALL}"
    if options.compute_type not in CPU_TYPES:
        return f"CTranslate2 computes on a CPU in {' and '.join(CPU_TYPES)}, not in {options.compute_type}"
    cannot = support.why_not(spec) or support.refusal(spec, typical or trial_row(spec))
    return f"CTranslate2 does not support: {cannot}" if cannot else ""


def faster(
    spec: Transformer,
    options: EngineOptions,
    open_ctranslate2: Callable[[], TransformerEngine],
    open_torch: Callable[[], TransformerEngine],
) -> tuple[str, TransformerEngine]:
    """Return the reason for torch ("" for CTranslate2) and the engine that is faster on this machine.

    The result is remembered per architecture, since speed does not depend on the weights. If CTranslate2 cannot be
    tried (for example, because the converted model does not fit on the disk), the engine is torch.
    """
    openers = {"torch": open_torch, "ctranslate2": open_ctranslate2}
    directory, question = options.cache_directory or default_directory(), _question(spec, options)
    row = trial_row(spec)

    def run(engine: TransformerEngine, batch: int) -> None:
        if row.decoding is None:
            engine.encode([row] * batch)
        else:
            collect(engine, [row] * batch)

    choice = remembered(directory, question)
    if choice in openers:
        engine = openers[choice]()
    else:
        try:
            choice, engine = fastest(tuple(openers), lambda name: openers[name](), run, lambda engine: engine.close())
        except SlipwayError as error:
            return f"CTranslate2 could not be tried: {error.message}", open_torch()
        remember(directory, question, choice)
    return "CTranslate2 is not faster on this machine, as measured" if choice == "torch" else "", engine


def _question(spec: Transformer, options: EngineOptions) -> str:
    architecture = hashlib.sha256(repr(spec).encode()).hexdigest()[:16]
    libraries = ", ".join(f"{library} {version(library)}" for library in ("torch", "ctranslate2"))
    setting = f"{options.compute_type}, {options.threads} threads, {options.workers} workers"
    return f"engine of {architecture}, {setting}, {libraries}"
