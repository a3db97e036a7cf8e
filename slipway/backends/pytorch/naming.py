"""Match declared tensors to the arguments and results of a torch module.

Pure. The rules are those of Triton's `docs/user_guide/model_configuration.md`, "Special Conventions for PyTorch
Backend": names of forward()'s arguments, else `<name>__<index>`, else the order of the configuration; each rule
applies to all names or to none.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Final

from slipway.errors import refused
from slipway.problems import Problem, Rule

_LOG: Final = logging.getLogger("slipway.pytorch")
_INDEXED = re.compile(r"__(\d+)\Z", re.ASCII)


def argument_order(model_name: str, names: Sequence[str], arguments: Sequence[str]) -> tuple[str, ...]:
    """Return the declared input for each of forward()'s `arguments`; raise INVALID_ARG when they do not match."""
    if len(names) != len(arguments):
        text = (
            f"unable to load model '{model_name}', configuration expects {len(names)} inputs, model provides "
            f"{len(arguments)}"
        )
        raise refused(Problem(Rule.INPUT_COUNT, text, ("input",)))
    if set(names) == set(arguments):
        return tuple(arguments)
    positions = _indices(names)
    if positions is None:
        _LOG.warning(
            "inputs %s of model '%s' are neither input arguments to the model nor do they follow the <name>__<index> "
            "naming convention. Falling back to enforcing strict ordering from model configuration.",
            ", ".join(names),
            model_name,
        )
        return tuple(names)
    if sorted(positions) != list(range(len(arguments))):
        text = (
            f"unable to load model '{model_name}', inputs {', '.join(names)} do not have each index from 0 to "
            f"{len(arguments) - 1} exactly once"
        )
        raise refused(Problem(Rule.TENSOR_NOT_IN_GRAPH, text, ("input",), "rename the inputs"))
    return tuple(name for _, name in sorted(zip(positions, names, strict=True)))


def result_indices(model_name: str, names: Sequence[str]) -> dict[str, int]:
    """Return the position of each declared output in forward()'s results."""
    positions = _indices(names)
    if positions is None:
        if len(names) > 1:
            _LOG.warning(
                "outputs %s of model '%s' do not follow the <name>__<index> naming convention. Falling back to "
                "enforcing strict ordering from model configuration.",
                ", ".join(names),
                model_name,
            )
        positions = list(range(len(names)))
    return dict(zip(names, positions, strict=True))


def _indices(names: Sequence[str]) -> list[int] | None:
    matches = [_INDEXED.search(name) for name in names]
    found = [int(match[1]) for match in matches if match is not None]
    return found if len(found) == len(names) else None
