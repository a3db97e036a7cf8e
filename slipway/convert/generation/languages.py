"""The source languages of a tokenizer that adds a language token to each text: NLLB, M2M100, mBART."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from slipway.errors import invalid
from slipway.runtime import source_language

_NAME: Final = re.compile(r"[a-z]{2,3}(_[A-Za-z]{2,4})?|__[a-z]{2,3}__")


@dataclass(frozen=True, slots=True)
class SourceLanguages:
    """The names that the tokenizer knows, and the default one; empty if it does not know any."""

    names: tuple[str, ...] = ()
    usual: str = ""

    @property
    def parameters(self) -> dict[str, str]:
        """The parameters that the configs of the models get."""
        if not self.names:
            return {}
        return {source_language.LANGUAGE: self.usual, source_language.LANGUAGES: " ".join(self.names)}


def choose_language(reference: Any, asked: str) -> SourceLanguages:
    """Return the languages of a tokenizer of transformers, after setting it to `asked` ("" keeps its own).

    Raise INVALID_ARG naming the nearest language if the tokenizer does not know it.
    """
    if not hasattr(type(reference), "src_lang"):
        if asked:
            raise invalid(f"source language '{asked}' cannot be set: the tokenizer does not add languages to texts")
        return SourceLanguages()
    codes: Mapping[str, int] = getattr(reference, "lang_code_to_id", None) or {}
    specials = [str(each) for each in codes or reference.all_special_tokens]
    names = tuple(dict.fromkeys(name for name in specials if _NAME.fullmatch(name)))
    if asked:
        if asked not in names:
            near = get_close_matches(asked, names, n=1) or names[:1]
            raise invalid(f"source language '{asked}' is unknown: did you mean '{'; '.join(near)}'?")
        reference.src_lang = asked
    return SourceLanguages(names, str(reference.src_lang))
