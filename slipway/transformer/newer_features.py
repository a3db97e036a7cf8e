"""What architectures have that formats and engines from before 2021 know nothing of, in words.

Whoever writes or computes only those asks here first, and refuses by name what would be lost.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from slipway.transformer.spec import Experts, Positions, QueryKeyNorm, Stack, Transformer

_FEATURES: Final[tuple[tuple[str, Callable[[Stack], bool]], ...]] = (
    ("rotary positions", lambda stack: stack.positions is Positions.ROTARY),
    ("penalties for distance as positions (ALiBi)", lambda stack: stack.positions is Positions.ALIBI),
    ("query heads that share keys and values", lambda stack: stack.key_value != stack.attention),
    ("an attention window", lambda stack: bool(stack.window_layers)),
    ("a soft cap of attention scores", lambda stack: stack.attention_softcap != 0.0),
    ("normalised queries and keys", lambda stack: stack.query_key_norm is not QueryKeyNorm.NONE),
    ("normalised outputs of blocks", lambda stack: stack.branch_norm),
    ("parallel blocks", lambda stack: stack.parallel or stack.shared_norm),
    ("scaled residuals", lambda stack: stack.residual_scale != 1.0),
    ("a token table of another width", lambda stack: stack.embedding_size != 0),
    ("a bias of only some products of attention", lambda stack: stack.output_bias not in (None, stack.attention_bias)),
    ("experts with a size of their own, or normalised or shared ones", lambda stack: _newer_experts(stack.experts)),
)


def newer_features(spec: Transformer) -> list[str]:
    """Return the features that only newer formats and engines know, none twice."""
    stacks = [stack for stack in (spec.encoder, spec.decoder) if stack is not None]
    found = [name for name, present in _FEATURES if any(present(stack) for stack in stacks)]
    return [*found, "a soft cap of the scores over the vocabulary"] if spec.logit_softcap else found


def _newer_experts(experts: Experts | None) -> bool:
    if experts is None:
        return False
    return experts != replace(experts, normalised=False, inner=0, shared_inner=0, shared_gate=False)
