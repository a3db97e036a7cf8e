"""Check ensembles against the models of their steps: `config/validate_ensemble.py` finds problems, this places them.

A model that cannot be read has its own findings; whether an ensemble fits it is not checked.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from dataclasses import replace

from tritonclient.grpc import model_config_pb2

from slipway.config.validate import cache_problems
from slipway.config.validate_ensemble import validate_ensemble
from slipway.lint.finding import Edit, Finding
from slipway.lint.model import Model
from slipway.problems import Problem, Rule, Step


def ensemble_findings(ensemble: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Yield the findings of an ensemble; `models` holds all models of the repository by name, even broken ones."""
    configs = {name: model.config for name, model in models.items() if model.is_whole}
    edits = _batch_size_edits(ensemble, configs)
    for problem in validate_ensemble(ensemble.config, configs):
        if problem.rule is not Rule.STEP_MODEL_MISSING:  # reported below for each step, with the likely name
            finding = ensemble.finding_of(problem)
            yield replace(finding, edits=edits) if problem.rule is Rule.ENSEMBLE_BATCH_SIZE else finding
    yield from map(ensemble.finding_of, _cache_problems(ensemble.config, configs))
    yield from _missing(ensemble, models)


def _cache_problems(
    ensemble: model_config_pb2.ModelConfig, configs: Mapping[str, model_config_pb2.ModelConfig]
) -> Iterator[Problem]:
    """Yield why responses cannot be kept if a step is decoupled, and with it the ensemble, regardless of its config."""
    if ensemble.model_transaction_policy.decoupled or not _has_decoupled_step(ensemble, configs, set()):
        return
    decoupled = model_config_pb2.ModelConfig()
    decoupled.CopyFrom(ensemble)
    decoupled.model_transaction_policy.decoupled = True
    yield from cache_problems(decoupled)


def _has_decoupled_step(
    ensemble: model_config_pb2.ModelConfig, configs: Mapping[str, model_config_pb2.ModelConfig], seen: set[str]
) -> bool:
    names = {step.model_name for step in ensemble.ensemble_scheduling.step} & configs.keys() - seen
    seen |= names
    return any(
        configs[name].model_transaction_policy.decoupled or _has_decoupled_step(configs[name], configs, seen)
        for name in names
    )


def _batch_size_edits(ensemble: Model, configs: Mapping[str, model_config_pb2.ModelConfig]) -> tuple[Edit, ...]:
    """Return the edit that writes the smallest max_batch_size of the steps; none if a step does not support batches."""
    names = {step.model_name for step in ensemble.config.ensemble_scheduling.step}
    smallest = min((configs[name].max_batch_size for name in names if name in configs), default=0)
    value = ensemble.document.find(("max_batch_size", 0))
    if value is None or smallest < 1:  # without batches the ensemble's dims would change too
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
