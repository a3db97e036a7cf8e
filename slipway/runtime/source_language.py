"""The language that a text is in, for tokenizers that write it as a token beside the text (NLLB, M2M100, mBART).

tokenizer.json writes the one that the checkpoint was converted for; a request may name another, whose token then stands
in its place. Knows nothing but the `tokenizers` library.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final

import numpy as np

from slipway.errors import invalid

if TYPE_CHECKING:
    from tokenizers import Encoding, Tokenizer

LANGUAGE: Final = "source_language"  # the optional input, and the config's parameter with the default
LANGUAGES: Final = "source_languages"  # the config's parameter with all names
NAMES: Final = (LANGUAGE, "src_lang")


class SourceLanguage:
    """The languages of one tokenizer: none where the config's `parameters` name none."""

    def __init__(self, tokenizer: Tokenizer, parameters: Mapping[str, str]) -> None:
        self._known = parameters.get(LANGUAGES, "").split()
        self._tokenizer = tokenizer
        self._usual = tokenizer.token_to_id(parameters.get(LANGUAGE, ""))

    def asked(self, arrays: Mapping[str, np.ndarray]) -> str:
        """Return the language that a request of one row names, "" where it names none; raise INVALID_ARG naming the
        nearest where there is no such language."""
        given = next((arrays[name] for name in NAMES if name in arrays), None)
        if given is None or not self._known:
            return ""
        name = given.reshape(-1)[0]
        return self.checked(name.decode(errors="replace") if isinstance(name, bytes) else str(name))

    def checked(self, name: str) -> str:
        """Return the name; raise INVALID_ARG where the tokenizer has no such language."""
        if name not in self._known:
            near = get_close_matches(name, self._known, n=1) or self._known[:1]
            raise invalid(f"the tokenizer has no language '{name}': did you mean '{near[0]}'?")
        return name

    def ids(self, encoding: Encoding, name: str) -> list[int]:
        """Return the ids of a text with the token of the language `name`, "" for the usual one."""
        if not name:
            return list(encoding.ids)
        other = self._tokenizer.token_to_id(self.checked(name)) or 0
        return [
            other if special and token == self._usual else token
            for token, special in zip(encoding.ids, encoding.special_tokens_mask, strict=True)
        ]
