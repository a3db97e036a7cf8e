"""The decoder-only families of Hugging Face checkpoints: one row for each model type, in four modules.

A new family that computes like Llama is a row of ten to twenty lines in `llama_families.py`.
"""

from __future__ import annotations

from typing import Final

from slipway.checkpoints.huggingface.decoder_family import DecoderFamily
from slipway.checkpoints.huggingface.expert_families import EXPERT_FAMILIES
from slipway.checkpoints.huggingface.gemma_families import GEMMA_FAMILIES
from slipway.checkpoints.huggingface.layer_norm_families import LAYER_NORM_FAMILIES
from slipway.checkpoints.huggingface.llama_families import LLAMA_FAMILIES

DECODER_FAMILIES: Final[dict[str, DecoderFamily]] = dict(
    sorted((LLAMA_FAMILIES | EXPERT_FAMILIES | GEMMA_FAMILIES | LAYER_NORM_FAMILIES).items())
)
