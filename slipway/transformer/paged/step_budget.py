"""How many tokens of prompts a step computes beside the newest tokens: as many as those who read can spare.

A step should take at most `STRETCH` times as long as it would without prompts. Both are measured as steps go by, in
integers of any unit; one step in `_PROBE` goes without prompts, so that the measure follows the number of rows. Pure.
"""

from __future__ import annotations

from typing import Final

STRETCH: Final = 2.5
_LEAST: Final = 8  # tokens: fewer are hardly faster, because a step reads all weights anyway
_FIRST: Final = 32  # tokens, before anything has been measured
_PROBE: Final = 16  # steps
_MEMORY: Final = 4  # steps: how quickly the figures follow


class StepBudget:
    """Steps of at most `most` tokens of prompts."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._alone = 0.0  # the duration of a step without prompts
        self._per_token = 0.0  # what a token of a prompt adds to it
        self._mixed = 0  # steps with prompts since the last one without

    def tokens(self, generating: int) -> int:
        """Return the budget of the next step, in which `generating` rows get a token."""
        if not generating:
            return self._most
        if self._mixed >= _PROBE:
            return 0
        if not (self._alone and self._per_token):
            return min(self._most, _FIRST)
        spare = (STRETCH - 1) * self._alone
        return max(min(_LEAST, self._most), min(self._most, int(spare / self._per_token)))

    @property
    def token_cost(self) -> float:
        """The share by which one more token makes a step longer that has no prompts; 1 before it has been measured, and
        in a step that is to be measured."""
        if self._mixed >= _PROBE or not (self._alone and self._per_token):
            return 1.0
        return self._per_token / self._alone

    def observe(self, generating: int, prompt_tokens: int, duration: int) -> None:
        """Learn from a step that has been computed; tokens of drafts count as those of prompts."""
        if not prompt_tokens:
            self._mixed = 0
            self._alone = _followed(self._alone, duration)
            return
        self._mixed += 1 if generating else 0
        before = self._alone if generating else 0.0
        if before or not generating:
            self._per_token = _followed(self._per_token, max(duration - before, 1) / prompt_tokens)


def _followed(figure: float, latest: float) -> float:
    return latest if not figure else figure + (latest - figure) / _MEMORY
