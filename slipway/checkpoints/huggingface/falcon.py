"""What distinguishes the Falcons: 7B with one head of keys, 40B with groups and two norms, RW with ALiBi."""

from __future__ import annotations

from math import sqrt

from slipway.checkpoints.huggingface.decoder_family import Fields
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.errors import unsupported
from slipway.transformer.spec import Positions


def falcon_fields(settings: HuggingFaceSettings, fields: Fields) -> Fields:
    """Return the values of `spec.Stack` that Falcon's own settings decide."""
    new = settings.flag("new_decoder_architecture", default=False)
    parallel = settings.flag("parallel_attn", default=True)
    norms = settings.size("num_ln_in_parallel_attn", 2 if new else 1)
    one_head = settings.flag("multi_query", default=True)
    groups = settings.size("num_kv_heads", fields["heads"])
    if norms > 2 or (norms == 2 and not new) or (new and not parallel):
        raise unsupported(
            f"{settings.path}: {norms} norms with 'parallel_attn' {parallel} and 'new_decoder_architecture' {new} "
            "are not a Falcon that transformers runs"
        )
    own: Fields = {
        "parallel": parallel,
        "shared_norm": parallel and norms == 1,
        "key_value_heads": groups if new else 1 if one_head else fields["heads"],
    }
    if settings.flag("alibi", default=False):
        settings.config.get("rope_parameters")  # transformers writes it, but does not rotate
        # The penalties are added before the scores are scaled.
        own |= {"positions": Positions.ALIBI, "alibi_scale": 1.0 / sqrt(fields["head_size"])}
    return own
