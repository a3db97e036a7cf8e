"""The source language of a text, for tokenizers that add it to the text as a token (NLLB, M2M100, mBART).

tokenizer.json adds the language that was chosen for the conversion; a request may select another, whose token replaces
it. Depends only on the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import numpy as np

from slipway.errors import invalid, shown

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

LANGUAGE: Final = "source_language"  # the optional input, and the config's parameter with the default
LANGUAGES: Final = "source_languages"  # the config's parameter with all names
NAMES: Final = (LANGUAGE, "src_lang")


class SourceLanguage:
    """The languages of one tokenizer, as named in the `parameters` of its config."""

    def __init__(self, tokenizer: Tokenizer, parameters: Mapping[str, str]) -> None:
        self._known = parameters.get(LANGUAGES, "").split()
        self._tokenizer = tokenizer
        self._usual = tokenizer.token_to_id(parameters.get(LANGUAGE, ""))

    def asked(self, arrays: Mapping[str, np.ndarray]) -> str:
        """Return the language that a request of one row selects, "" if it does not select one; raise INVALID_ARG naming
        the nearest one if it is unknown."""
        given = next((arrays[name] for name in NAMES if name in arrays), None)
        if given is None or not self._known:
            return ""
        name = given.reshape(-1)[0]
        return self.checked(name.decode(errors="replace") if isinstance(name, bytes) else str(name))

    def checked(self, name: str) -> str:
        """Return the name; raise INVALID_ARG if the tokenizer does not know the language."""
        if name not in self._known:
            near = get_close_matches(shown(name), self._known, n=1) or self._known[:1]
            raise invalid(f"source language '{shown(name)}' is unknown: did you mean '{near[0]}'?")
        return name

    def ids(self, encoding: Encoding, name: str) -> list[int]:
        """Return the ids of a text with the token of the language `name`, "" for the default one."""
        if not name:
            return list(encoding.ids)
        other = self._tokenizer.token_to_id(self.checked(name)) or 0
        return [
            other if special and token == self._usual else token
            for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        ]
