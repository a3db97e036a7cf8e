"""Ensembles held against the models of their steps: `config/validate_ensemble.py` decides, this places what it says.

A model that cannot be read has findings of its own; nothing is said of how an ensemble fits it.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tritonclient.grpc import model_config_pb2

from slipway.config.validate_ensemble import validate_ensemble
from slipway.lint.finding import Edit, Finding
from slipway.lint.model import Model
from slipway.problems import Rule, Step


def ensemble_findings(ensemble: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Yield what is wrong with an ensemble; `models` are all of the repository, by name, broken ones included."""
    configs = {name: model.config for name, model in models.items() if model.is_whole}
    edits = _batch_size_edits(ensemble, configs)
    for problem in validate_ensemble(ensemble.config, configs):
        if problem.rule is not Rule.STEP_MODEL_MISSING:  # said of each step below, with the name that was meant
            finding = ensemble.finding_of(problem)
            yield replace(finding, edits=edits) if problem.rule is Rule.ENSEMBLE_BATCH_SIZE else finding
    yield from _missing(ensemble, models)


def _batch_size_edits(ensemble: Model, configs: Mapping[str, model_config_pb2.ModelConfig]) -> tuple[Edit, ...]:
    """Return what writes the smallest max_batch_size of the steps; none where a step takes no batches at all."""
    names = {step.model_name for step in ensemble.config.ensemble_scheduling.step}
    smallest = min((configs[name].max_batch_size for name in names if name in configs), default=0)
    value = ensemble.document.find(("max_batch_size", 0))
    if value is None or smallest < 1:  # without batches the ensemble's dims would be other ones too
        return ()
    return (Edit(value.start, value.end, str(smallest)),)


def _missing(ensemble: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    for index, step in enumerate(ensemble.config.ensemble_scheduling.step):
        name = step.model_name
        if not name or name in models:
            continue
        near = difflib.get_close_matches(name, models, n=1)
        fix = f"write {near[0]} instead of {name}" if near else f"add the model {name} to the repository"
        path: tuple[Step, ...] = ("ensemble_scheduling", "step", index, "model_name")
        yield ensemble.finding(
            Rule.STEP_MODEL_MISSING, f"step {index} names the model '{name}', which does not exist", path, fix=fix
        )
