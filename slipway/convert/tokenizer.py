"""The tokenizer of a checkpoint: the reference that transformers opens, and the copy that is served.

The copy needs only the `tokenizers` library, because its truncation and padding are part of tokenizer.json.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from slipway.convert.byte_tokenizer import CLASS, build_byte_tokenizer
from slipway.convert.libraries import cause_of
from slipway.errors import SlipwayError, invalid
from slipway.installation import install_hint

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def open_reference(directory: Path, refuse: Callable[[str], SlipwayError]) -> Any:
    """Return the tokenizer as `transformers` opens it; raise the error that `refuse` makes from the reason if it cannot
    be opened or has no fast version."""
    from transformers import AutoTokenizer

    if needs_sentencepiece(directory) and (obstacle := _sentencepiece_obstacle()):
        raise refuse(f"it is only a sentencepiece model, and {obstacle}: {install_hint('sentencepiece')}")
    try:
        tokenizer = AutoTokenizer.from_pretrained(directory, local_files_only=True)
    except Exception as error:  # transformers and its Rust core raise types without a common root
        raise refuse(cause_of(error)) from error
    if not getattr(tokenizer, "is_fast", False) and type(tokenizer).__name__ != CLASS:
        raise refuse(f"{type(tokenizer).__name__} has no fast version")
    return tokenizer


def _sentencepiece_obstacle() -> str:
    """Return why sentencepiece models cannot be read, "" if they can be. The message of transformers itself names
    another library, which does not help."""
    from google.protobuf.runtime_version import VersionError

    try:
        import_module("sentencepiece.sentencepiece_model_pb2")
    except ModuleNotFoundError:
        return "sentencepiece is not installed"
    except VersionError:  # from 0.2.2 on it needs protobuf 7, which tritonclient does not support
        return "the installed sentencepiece needs a newer protobuf"
    return ""


def needs_sentencepiece(directory: Path) -> bool:
    """Return whether a directory holds its tokenizer only as a sentencepiece model."""
    return not (directory / "tokenizer.json").is_file() and any(directory.glob("*.model"))


def copy_tokenizer(reference: Any, max_length: int | None) -> Tokenizer:
    """Return a copy that pads a batch to its longest row and truncates to `max_length` tokens on the same side as the
    reference; None disables truncation."""
    from tokenizers import Tokenizer

    if type(reference).__name__ == CLASS:
        tokenizer = build_byte_tokenizer(reference)
    else:
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
