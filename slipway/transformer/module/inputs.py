"""The input of a stack: rows packed one after another, as ids, as hidden states from elsewhere, or as pixels, and the
features of their tokens."""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from slipway.transformer.module.packed_layout import PackedLayout


@dataclass(frozen=True, slots=True)
class TokenFeatures:
    """The features of a token besides its id, which are those of its row. Per row or per token, int64 [n] each, None if
    the architecture does not use them.

    `tasks`: the IA3 task; an index equal to the number of tasks means none. `experts`: the expert of a hard gate.
    `languages`: the row of the language table that is added to every token.
    """

    tasks: Tensor | None = None
    experts: Tensor | None = None
    languages: Tensor | None = None

    def select(self, index: Tensor) -> TokenFeatures:
        """Return the features of the entries in `index`."""
        parts = (self.tasks, self.experts, self.languages)
        return TokenFeatures(*(None if part is None else part[index] for part in parts))


@dataclass(frozen=True, slots=True)
class EmbeddingOverrides:
    """Tokens that have a vector instead of an id: prompt tables, languages that precede the tokens."""

    index: Tensor  # int64 [n], indices of packed tokens
    vectors: Tensor  # [n, hidden]


@dataclass(frozen=True, slots=True)
class TokenIds:
    """Packed ids, int64 [tokens], some of which may be overridden."""

    ids: Tensor
    overrides: EmbeddingOverrides | None = None


@dataclass(frozen=True, slots=True)
class EmbeddedTokens:
    """Packed tokens that were embedded elsewhere, [tokens, hidden]."""

    hidden: Tensor


@dataclass(frozen=True, slots=True)
class Images:
    """One image per row, [rows, channels, height, width]."""

    pixels: Tensor


@dataclass(frozen=True, slots=True)
class PackedSequences:
    """Rows that enter a stack together. `features` are per row."""

    layout: PackedLayout
    content: TokenIds | EmbeddedTokens | Images
    features: TokenFeatures = field(default_factory=TokenFeatures)

    @property
    def ids(self) -> Tensor | None:
        """The packed ids, None if rows are not ids."""
        return self.content.ids if isinstance(self.content, TokenIds) else None
