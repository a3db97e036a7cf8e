"""The tokenizer of a checkpoint: the reference that transformers opens, and the copy that is served.

The copy needs only the `tokenizers` library, because its truncation and padding are part of tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.convert.libraries import cause_of
from slipway.errors import SlipwayError, invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def open_reference(directory: Path, refuse: Callable[[str], SlipwayError]) -> Any:
    """Return the tokenizer as `transformers` opens it; raise the error that `refuse` makes from the reason if it cannot
    be opened or has no fast version."""
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # transformers and its Rust core raise types without a common root
        raise refuse(cause_of(error)) from error
    if not getattr(tokenizer, "is_fast", False):
        raise refuse(f"{type(tokenizer).__name__} has no fast version")
    return tokenizer


def copy_tokenizer(reference: Any, max_length: int | None) -> Tokenizer:
    """Return a copy that pads a batch to its longest row and truncates to `max_length` tokens on the same side as the
    reference; None disables truncation."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(reference.backend_tokenizer.to_str())
    if max_length is None:
        tokenizer.no_truncation()
    else:
        tokenizer.enable_truncation(max_length, direction=reference.truncation_side)
    known = reference.pad_token_id is not None  # otherwise any token works, because the mask hides it
    tokenizer.enable_padding(
        pad_id=reference.pad_token_id if known else 0,
        pad_token=reference.pad_token or "",
        pad_type_id=reference.pad_token_type_id,
    )
    return tokenizer


def disagreement(text: str) -> SlipwayError:
    """Return the error for a text that the copy encodes differently from the reference."""
    return invalid(f"the exported tokenizer and transformers disagree on {text[:40]!r}; nothing was written")
