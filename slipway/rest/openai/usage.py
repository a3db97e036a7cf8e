"""The number of tokens that a request cost, as OpenAI's answers report it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens of the texts that came, and of the texts that were generated."""

    prompt: int
    completion: int | None = None  # None where nothing is generated

    def document(self) -> dict[str, int]:
        """Return the JSON object."""
        if self.completion is None:
            return {"prompt_tokens": self.prompt, "total_tokens": self.prompt}
        total = self.prompt + self.completion
        return {"prompt_tokens": self.prompt, "completion_tokens": self.completion, "total_tokens": total}
