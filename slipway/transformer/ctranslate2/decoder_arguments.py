"""What only today's decoders have, as arguments and variables of the library's specification of a decoder.

Only for stacks that `support.why_not` accepts: rotary positions, ALiBi, shared keys and values, normalised queries and
keys, parallel blocks, normalised outputs of blocks.

The library's own forms of Llama 3's scaling and YaRN differ from transformers (4.8: the former ignores the factor, the
latter does not exist). Both only divide each frequency by a constant, which its third form, LongRoPE, takes as a table.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from ctranslate2.specs.attention_spec import RotaryScalingType

from slipway.transformer.rotary_frequencies import inverse_frequencies
from slipway.transformer.spec import Positions, QueryKeyNorm, Rotary, RotaryScaling, Stack

TABLES: Final = (RotaryScaling.LLAMA3, RotaryScaling.YARN)
# Equal lengths select a magnitude of 1; both tables are the same, so that it does not matter which is used.
_LENGTH: Final = 4096


def decoder_arguments(stack: Stack) -> dict[str, Any]:
    """Return the arguments of `TransformerDecoderSpec` for the features of `stack`; none for a decoder without them."""
    arguments: dict[str, Any] = {}
    if stack.key_value != stack.attention:
        arguments["num_heads_kv"] = stack.key_value_heads
    if stack.query_key_norm is QueryKeyNorm.HEAD:
        arguments["qk_norm"] = True
    if stack.parallel:
        arguments |= {"parallel_residual": True, "shared_layer_norm": stack.shared_norm}
    if stack.branch_norm:
        arguments["pre_post_layer_norm"] = True
    if stack.positions is Positions.ALIBI:
        arguments |= {"alibi": True, "alibi_use_positive_positions": True, "scale_alibi": stack.alibi_scale != 1.0}
    if stack.rotary is not None:
        arguments |= _rotary(stack.rotary)
    return arguments


def queries_scale(stack: Stack) -> np.float32:
    """Return what the library multiplies queries with: the attention scale, and the magnitude of rotary positions for
    queries and keys (`support.py` refuses one that holds for a part of the head)."""
    magnitude = 1.0 if stack.rotary is None else stack.rotary.magnitude
    return np.float32(stack.attention_scale * magnitude**2)


def set_rotary_tables(attention: Any, stack: Stack) -> None:
    """Set the divisors of an attention's frequencies if it takes them as a table."""
    if stack.rotary is None or stack.rotary.scaling not in TABLES:
        return
    plain = stack.rotary.base ** -(np.arange(0, stack.rotary.size, 2, dtype=np.float64) / stack.rotary.size)
    divisors = (plain / inverse_frequencies(stack.rotary)).astype(np.float32)
    attention.rotary_scaling_long_factor = divisors
    attention.rotary_scaling_short_factor = divisors.copy()


def _rotary(rotary: Rotary) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "rotary_dim": rotary.size,
        "rotary_interleave": rotary.interleaved,
        "rotary_base": rotary.base,
    }
    if rotary.scaling is RotaryScaling.LINEAR:
        arguments |= {"rotary_scaling_type": RotaryScalingType.Linear, "rotary_scaling_factor": rotary.factor}
    if rotary.scaling in TABLES:
        arguments |= {
            "rotary_scaling_type": RotaryScalingType.Su,
            "original_max_position_embeddings": _LENGTH,
            "max_position_embeddings": _LENGTH,
        }
    return arguments
