"""Which special tokens of a reader are part of its text: those that mark up a page, but not those that begin, end or
fill it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_ROLES: Final = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")


def never_text(reference: Any, checkpoint: HuggingFaceCheckpoint) -> tuple[int, ...]:
    """Return the ids that are never text: those with a role in the tokenizer of transformers or in decoding, sorted."""
    found = {getattr(reference, f"{role}_token_id", None) for role in _ROLES}
    found |= {checkpoint.spec.start_id, checkpoint.padding_id, *checkpoint.end_ids}
    return tuple(sorted(token for token in found if token is not None))


def markup_of(tokenizer: Tokenizer, omitted: tuple[int, ...]) -> list[str]:
    """Return the special tokens that are text, by their ids."""
    added = sorted(tokenizer.get_added_tokens_decoder().items())
    return [token.content for number, token in added if token.special and number not in omitted]
