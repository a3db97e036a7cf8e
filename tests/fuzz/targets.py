"""The table of all targets: a new reader is a row in one of the four tables, and a directory with a seed."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from tests.fuzz.config_targets import CONFIG_TARGETS
from tests.fuzz.file_targets import FILE_TARGETS
from tests.fuzz.target import Target
from tests.fuzz.tensor2tensor_targets import TENSOR2TENSOR_TARGETS
from tests.fuzz.wire_targets import WIRE_TARGETS

TARGETS: Final = {
    target.name: target for target in (*WIRE_TARGETS, *CONFIG_TARGETS, *FILE_TARGETS, *TENSOR2TENSOR_TARGETS)
}


def can_run(target: Target) -> bool:
    """Return whether the packages that a target needs are installed."""
    return all(find_spec(package) is not None for package in target.needs)
