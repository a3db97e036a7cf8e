"""What a token brings along beside its id: the choices of the row it belongs to."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True, slots=True)
class TokenFeatures:
    """Per row or per token, int64 [n] each, None where the architecture has no use for it.

    `tasks`: the IA3 task, the number of tasks standing for none. `experts`: the expert of a hard gate. `languages`: the
    row of the language table that is added to every token.
    """

    tasks: Tensor | None = None
    experts: Tensor | None = None
    languages: Tensor | None = None

    def select(self, index: Tensor) -> TokenFeatures:
        """Return the features of the entries that `index` names."""
        return TokenFeatures(
            *(None if part is None else part[index] for part in (self.tasks, self.experts, self.languages))
        )
