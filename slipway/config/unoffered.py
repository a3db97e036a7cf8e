"""Settings of a configuration that have no effect in this server: the model runs without them, and they are reported.

Used by the server and the linter. The fields and the reasons are in `fields.py`; settings of one backend belong to
`backends/shared/ignored.py`, and what keeps a model from being served to `validate.py`. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.fields import FieldRow, field_row
from slipway.config.model_metrics import unknown_families
from slipway.config.prepared import prepared_without_effect
from slipway.config.support import Support
from slipway.config.walk import set_fields
from slipway.problems import FieldPath, Problem, Rule

_REMOVE: Final = "remove it unless another server needs it"


def without_effect(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the settings that are ignored."""
    for name, path, row in _ignored(config):
        if not row.quiet:
            yield Problem(Rule.WITHOUT_EFFECT, f"{name} has no effect: {row.note}", path, _REMOVE)
    yield from prepared_without_effect(config)
    yield from unknown_families(config)


def _ignored(config: model_config_pb2.ModelConfig) -> Iterator[tuple[str, FieldPath, FieldRow]]:
    """Yield the fields that `config` sets and that have no effect with its backend: the name, the path and the row; for
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
        if row.support is not Support.REFUSED and not is_theirs:
            yield name, path, row
