"""Settings that a configuration may have and that have no effect here: the model only runs differently.

Used by the server and the linter. The fields and the reasons are in `fields.py`; settings of one backend belong to
`backends/shared/ignored.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.fields import FieldRow, field_row
from slipway.config.prepared import prepared_without_effect
from slipway.config.support import Support
from slipway.config.walk import set_fields
from slipway.problems import FieldPath, Problem, Rule

_REMOVE: Final = "remove it unless another server needs it"


def without_effect(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the settings that are ignored."""
    for name, path, row in _not_working(config):
        if row.support is not Support.REFUSED and not row.quiet:
            yield Problem(Rule.WITHOUT_EFFECT, f"{name} has no effect: {row.note}", path, _REMOVE)
    yield from prepared_without_effect(config)


def _not_working(config: model_config_pb2.ModelConfig) -> Iterator[tuple[str, FieldPath, FieldRow]]:
    """Yield the fields that `config` sets and that do not work with its backend: the name, the path and the row; for
    the fields below such a field, only that field itself."""
    covered: FieldPath | None = None
    for name, path in set_fields(config):
        if covered is not None and path[: len(covered)] == covered:
            continue
        row = field_row(name)
        is_theirs = config.backend in row.backends  # the backend uses it, or reports it itself
        if row.support is Support.WORKS and (is_theirs or not row.backends):
            continue
        covered = path
        if not is_theirs:
            yield name, path, row
