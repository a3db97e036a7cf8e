"""Draft an ensemble of models that run one after another: tensors with the same name are the same tensor.

Tensors that no model produces are the ensemble's inputs; those that the last model produces are its outputs. Pure, over
completed models.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.config.validate_ensemble import validate_ensemble
from slipway.drafting.draft import Draft
from slipway.errors import invalid, refused


def draft_pipeline(models: Sequence[model_config_pb2.ModelConfig], name: str) -> Draft:
    """Return the ensemble of `models` in their order; raise INVALID_ARG if a model does not connect to earlier ones."""
    if len(models) < 2:
        raise invalid(
            "a pipeline needs at least two models, in the order in which they run: --pipeline TOKENIZER MODEL"
        )
    if name in {model.name for model in models}:
        raise invalid(f"the ensemble cannot be called '{name}': one of its models has that name")
    config = model_config_pb2.ModelConfig(name=name, platform="ensemble", max_batch_size=_max_batch_size(models))
    pipe = _Pipe(config)
    for position, model in enumerate(models):
        _check_connected(model, models[:position])
        pipe.add(model, is_last=position == len(models) - 1, rest=models[position + 1 :])
    problems = validate_ensemble(config, {model.name: model for model in models})
    if problems:
        raise refused(*problems)
    return Draft(config)


def _max_batch_size(models: Sequence[model_config_pb2.ModelConfig]) -> int:
    """Return the largest batch that every model supports; 0 if one supports none."""
    return min(int(model.max_batch_size) for model in models)


def _check_connected(model: model_config_pb2.ModelConfig, earlier: Sequence[model_config_pb2.ModelConfig]) -> None:
    made = {each.name for before in earlier for each in (*before.input, *before.output)}
    taken = [each.name for each in model.input]
    if made and made.isdisjoint(taken):
        raise invalid(
            f"no earlier model produces an input of '{model.name}' ({', '.join(taken)}); available: "
            f"{', '.join(sorted(made))}; rename the tensors of one of them"
        )


@dataclass(slots=True)
class _Pipe:
    """The ensemble under construction; `made` maps each name to the ensemble tensor that it now refers to."""

    config: model_config_pb2.ModelConfig
    made: dict[str, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)  # the ensemble's tensors so far

    def add(
        self, model: model_config_pb2.ModelConfig, *, is_last: bool, rest: Sequence[model_config_pb2.ModelConfig]
    ) -> None:
        """Append the step for a model."""
        step = self.config.ensemble_scheduling.step.add(model_name=model.name, model_version=-1)
        for each in model.input:
            if each.name not in self.made and each.optional:
                continue
            if each.name not in self.made:
                self._declare(self.config.input, each)
                self.made[each.name] = each.name
                self.taken.add(each.name)
            step.input_map[each.name] = self.made[each.name]
        wanted = {each.name for later in rest for each in later.input}
        for each in model.output:
            if is_last or each.name in wanted:
                step.output_map[each.name] = self._make(each, model.name, is_last=is_last)

    def _make(self, tensor: model_config_pb2.ModelOutput, model: str, *, is_last: bool) -> str:
        name = tensor.name if tensor.name not in self.taken else f"{model}.{tensor.name}"
        self.taken.add(name)
        self.made[tensor.name] = name
        if is_last:
            self._declare(self.config.output, tensor, name)
        return str(name)

    def _declare(
        self,
        tensors: Any,  # the repeated field `input` or `output`
        tensor: model_config_pb2.ModelInput | model_config_pb2.ModelOutput,
        name: str = "",
    ) -> None:
        tensors.add(name=name or tensor.name, data_type=tensor.data_type, dims=list(tensor.dims))
