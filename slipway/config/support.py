"""What this server does about a setting of Triton: the three answers that tables of settings give."""

from __future__ import annotations

from enum import Enum


class Support(Enum):
    """Whether a setting does what it says; the value is the wording in docs/triton.md."""

    WORKS = "works"
    WITHOUT_EFFECT = "accepted, without effect"
    REFUSED = "refused"
