"""The labels of a classifier's config.json, and the function that turns its logits into scores."""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any, Final

from slipway.convert.directory import whole_number
from slipway.errors import invalid, shown

_MOST: Final = 1 << 20
_PROBLEMS: Final = ("regression", "single_label_classification", "multi_label_classification")


def read_labels(config: dict[str, Any]) -> tuple[str, ...]:
    """Return the labels in the order of the logits, named as transformers does if the config does not name them; raise
    INVALID_ARG if `id2label` does not map numbers to names."""
    declared = config.get("num_labels")
    count = (0 if declared is None else whole_number(declared, "config.json: 'num_labels'")) or 2
    if count > _MOST:
        raise invalid(f"config.json: 'num_labels' is {count}, more than {_MOST}")
    given = config.get("id2label") or {index: f"LABEL_{index}" for index in range(count)}
    try:
        names = {int(index): str(name) for index, name in given.items()}
    except (AttributeError, ValueError):
        raise invalid(f"config.json: 'id2label' should map numbers to names but is {shown(repr(given))}") from None
    if sorted(names) != list(range(len(names))):
        first = next(index for index in range(len(names)) if index not in names)
        raise invalid(f"config.json: 'id2label' has {len(names)} labels, but none for class {first}")
    return tuple(names[index] for index in sorted(names))


def score_function(config: dict[str, Any], labels: tuple[str, ...]) -> str:
    """Return the function that the pipelines of transformers apply to a classifier's logits: softmax, sigmoid or
    none; raise INVALID_ARG for an unknown `problem_type`."""
    problem = config.get("problem_type")
    if problem is not None and problem not in _PROBLEMS:
        near = get_close_matches(str(problem), _PROBLEMS, n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"expected one of {', '.join(_PROBLEMS)}"
        raise invalid(f"config.json: 'problem_type' is {shown(repr(problem))}: {hint}")
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or len(labels) == 1 else "softmax"
