"""Ensembles held against the models of their steps: `config/validate_ensemble.py` decides, this places what it says.

A model that cannot be read has findings of its own; nothing is said of how an ensemble fits it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.config.validate_ensemble import validate_ensemble
from slipway.lint.document import Step
from slipway.lint.finding import Edit, Finding
from slipway.lint.model import Model
from slipway.lint.texts import find_problem

_MISSING: Final = "contains models that are not available or ambiguous"
_UNCONNECTED: Final = re.compile(r"is not written: .*, '(?P<tensor>.*)', is not connected")


def ensemble_findings(ensemble: Model, models: Mapping[str, Model]) -> Iterator[Finding]:
    """Yield what is wrong with an ensemble; `models` are all of the repository, by name, broken ones included."""
    configs = {name: model.config for name, model in models.items() if model.is_whole}
    edits = _batch_size_edits(ensemble, configs)
    for text in validate_ensemble(ensemble.config, configs):
        if _MISSING in text:
            continue
        finding = _cycle(ensemble, text) or find_problem(ensemble, text)
        yield replace(finding, edits=edits) if finding.rule == "ensemble-batch-size" else finding
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
            "step-model-missing", f"step {index} names the model '{name}', which does not exist", path, fix=fix
        )


def _cycle(ensemble: Model, text: str) -> Finding | None:
    """Return the finding of a tensor that some step does make, but only from itself."""
    found = _UNCONNECTED.search(text)
    if found is None:
        return None
    steps = ensemble.config.ensemble_scheduling.step
    index = next((i for i, step in enumerate(steps) if found["tensor"] in _made(step)), None)
    if index is None:
        return None
    path: tuple[Step, ...] = ("ensemble_scheduling", "step", index)
    fix = f"let a step make '{found['tensor']}' from tensors that do not depend on it"
    return ensemble.finding("tensor-cycle", text, path, fix=fix)


def _made(step: model_config_pb2.ModelEnsembling.Step) -> list[str]:
    return list(step.output_map.values())
