"""The automatic choice of engine: torch, or CTranslate2 on a CPU where it does exactly what is asked and is faster.

In float32 torch is faster and keeps the weights in memory once. T5-base, two cores of Zen 5, tokens/s: one row torch
101, CTranslate2 74; eight rows 470 and 278. In int8 they are close (151 and 137, 774 and 734) and it depends on the
processor, so it is measured; CTranslate2 has to be worth it, as torch runs every row and shares its threads with other
models (`torch_engine/compute_thread.py`). Opens engines through functions; knows neither.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version
from typing import Final

from slipway.errors import SlipwayError
from slipway.transformer.ctranslate2 import support
from slipway.transformer.ctranslate2.conversion_cache import default_directory
from slipway.transformer.generation import SequenceRequest, TransformerEngine, collect
from slipway.transformer.options import INSTALL, EngineOptions, installed
from slipway.transformer.spec import Transformer
from slipway.transformer.trial import fastest, remember, remembered, trial_row

CPU_TYPES: Final = ("float32", "int8")  # of CTranslate2


def why_torch(spec: Transformer, options: EngineOptions, typical: SequenceRequest | None = None) -> str:
    """Return why an automatic choice is torch without a trial, "" when it is not; `typical` as in `open_engine`."""
    if options.device != "cpu":
        return "the engine for CUDA"
    if options.compute_type == "float32" and installed("torch"):
        return "faster than CTranslate2 in float32, with the weights in memory once"
    if not installed("ctranslate2"):
        return f"CTranslate2 is not installed: {INSTALL}"
    if options.compute_type not in CPU_TYPES:
        return f"CTranslate2 computes on a CPU in {' and '.join(CPU_TYPES)}, not in {options.compute_type}"
    cannot = support.why_not(spec) or support.refusal(spec, typical or trial_row(spec))
    return f"CTranslate2 cannot: {cannot}" if cannot else ""


def faster(
    spec: Transformer,
    options: EngineOptions,
    open_ctranslate2: Callable[[], TransformerEngine],
    open_torch: Callable[[], TransformerEngine],
) -> tuple[str, TransformerEngine]:
    """Return the engine that is faster on this machine, and why it is torch ("" where it is not).

    What was measured for the architecture is remembered: speed does not depend on the weights. Where CTranslate2 cannot
    be tried (no room for the converted model, say), the engine is torch.
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
