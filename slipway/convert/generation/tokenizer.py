"""The tokenizer of a generating checkpoint, with truncation and padding written into it.

The file it makes needs nothing but the `tokenizers` library, for encoding and for decoding.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from slipway.convert.encoders.tokenizer import first_line
from slipway.convert.generation.source import GenerationSource
from slipway.errors import invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_NO_LIMIT: Final = 1 << 20


def load_reference(source: GenerationSource) -> Any:
    """Return the tokenizer as `transformers` opens it; raise `SlipwayError` when it is missing or has no fast form."""
    from transformers import AutoTokenizer

    directory = source.directory
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # transformers and its Rust core raise types without a common root
        raise _no_tokenizer(source, first_line(error)) from error
    if not getattr(tokenizer, "is_fast", False):
        raise _no_tokenizer(source, f"{type(tokenizer).__name__} has no fast form")
    tokenizer.truncation_side = "left" if source.continues else "right"
    return tokenizer


def _no_tokenizer(source: GenerationSource, reason: str) -> Exception:
    return invalid(
        f"cannot make a tokenizer.json of '{source.directory}': {reason}. The served model needs that file: where "
        f"transformers has a fast tokenizer of this family, AutoTokenizer.from_pretrained(directory)."
        f"save_pretrained(directory) writes it (sentencepiece must be installed); Marian's two sentencepiece models "
        f"have none, but many such checkpoints are published with a tokenizer.json"
    )


def build_tokenizer(source: GenerationSource, reference: Any) -> Tokenizer:
    """Return a copy of the reference that truncates to the model's length and pads a batch to its longest row."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(reference.backend_tokenizer.to_str())
    if source.max_length < _NO_LIMIT:
        tokenizer.enable_truncation(source.max_length, direction=reference.truncation_side)
    else:
        tokenizer.no_truncation()
    known = reference.pad_token_id is not None  # without, any token will do: the mask hides it
    tokenizer.enable_padding(pad_id=reference.pad_token_id if known else 0, pad_token=reference.pad_token or "")
    return tokenizer


def check_tokenizer(source: GenerationSource, tokenizer: Tokenizer, reference: Any, texts: Sequence[str]) -> None:
    """Raise `SlipwayError` unless both tokenizers give the same ids for every text."""
    limit = {"truncation": True, "max_length": source.max_length} if source.max_length < _NO_LIMIT else {}
    for text in texts:
        found = tokenizer.encode(text).ids
        if found != list(reference(text, **limit)["input_ids"]):
            raise invalid(f"the exported tokenizer and transformers disagree on {text[:40]!r}; nothing was written")
        if not source.continues and max(found, default=0) >= source.spec.encoder.vocabulary:  # type: ignore[union-attr]
            raise invalid(f"the tokenizer gives id {max(found)}, and the model's vocabulary ends before it")


def check_text(tokenizer: Tokenizer, reference: Any, ids: Sequence[int]) -> None:
    """Raise `SlipwayError` unless both tokenizers make the same text of `ids`."""
    ours = tokenizer.decode(list(ids), skip_special_tokens=True)
    theirs = reference.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False)
    if ours != theirs:
        raise invalid(f"the exported tokenizer says {ours[:60]!r} where transformers says {theirs[:60]!r}")
