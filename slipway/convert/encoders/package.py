"""Write the models around the encoder of a text model: configs, labels, and Python models.

A text model becomes a tokenizer, the model, a model that turns outputs into answers if the task needs one, and the
ensemble of these. The model itself is built and configured in candidates/.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tritonclient.grpc import model_config_pb2 as pb

from slipway.config.purpose import TASKS as TASKS_OF_FRONTS
from slipway.config.purpose import Purpose
from slipway.convert.candidates.config import labelled_output, write_labels
from slipway.convert.candidates.subject import Interface
from slipway.convert.configs import (
    ensemble_step,
    model_input,
    model_name,
    python_config,
    write_ensemble,
    write_python_model,
)
from slipway.convert.directory import Task
from slipway.convert.encoders.source import EncoderSource
from slipway.convert.encoders.tasks import TASKS, tokenizer_outputs

if TYPE_CHECKING:
    from tokenizers import Tokenizer


def text_model_names(name: str) -> tuple[str, ...]:
    """Return all names that a text model may use, in the order in which they must be moved into the repository."""
    return f"{name}-tokenizer", model_name(name), f"{name}-answer", name


def write_text_models(
    directory: Path, name: str, source: EncoderSource, interface: Interface, tokenizer: Tokenizer, mask_id: int | None
) -> tuple[str, ...]:
    """Write the models around the encoder of a text model; return all names, including the encoder's."""
    around = [_tokenizer_config(f"{name}-tokenizer", source, interface)]
    row = TASKS[source.task]
    if row.answer:
        around.append(_answer_config(f"{name}-answer", source, interface, mask_id))
    for config in around:
        _write_around(directory, config, source, tokenizer)
    ensemble = _ensemble_config(name, source, interface)
    write_ensemble(directory / name, ensemble)
    if any(output.label_filename for output in ensemble.output):
        write_labels(directory / name, source.labels)
    return (around[0].name, model_name(name), *(config.name for config in around[1:]), name)


def _write_around(directory: Path, config: pb.ModelConfig, source: EncoderSource, tokenizer: Tokenizer) -> None:
    row = TASKS[source.task]
    answers = config.name.endswith("-answer")
    template = f"answer_{row.answer}" if answers else "tokenizer"
    version = write_python_model(directory / config.name, config, template)
    if not answers or source.task is Task.MASK:
        tokenizer.save(str(version / "tokenizer.json"))
    if answers and source.task in (Task.CLASSIFICATION, Task.TOKENS):
        write_labels(version, source.labels)


def _tokenizer_config(name: str, source: EncoderSource, interface: Interface) -> pb.ModelConfig:
    parameters = {"PROMPT": source.prompt} if source.prompt else {}
    if source.task is Task.ZERO_SHOT:
        parameters["HYPOTHESIS"] = source.hypothesis
    outputs = tokenizer_outputs(source)
    return python_config(name, TASKS[source.task].texts, outputs, interface.max_batch_size, parameters)


def _answer_config(name: str, source: EncoderSource, interface: Interface, mask_id: int | None) -> pb.ModelConfig:
    row = TASKS[source.task]
    known = {spec.name: spec for spec in (*row.texts, *tokenizer_outputs(source), *interface.outputs)}
    parameters = {"SCORES": source.scores} if source.task is Task.CLASSIFICATION else {}
    if mask_id is not None:
        parameters["MASK_ID"] = str(mask_id)
    inputs = [known[each] for each in row.answer_inputs]
    return python_config(name, inputs, row.answer_outputs(source), interface.max_batch_size, parameters)


def _ensemble_config(name: str, source: EncoderSource, interface: Interface) -> pb.ModelConfig:
    row = TASKS[source.task]
    texts = [spec.name for spec in row.texts]
    ids = [spec.name for spec in tokenizer_outputs(source)]
    results = [spec.name for spec in interface.outputs]
    steps = [
        ensemble_step(f"{name}-tokenizer", texts, ids),
        ensemble_step(model_name(name), [spec.name for spec in interface.inputs], results),
    ]
    words = row.answer_outputs(source)
    # Return logits only if there is one per label: for every token or over a vocabulary they take megabytes.
    outputs = [spec for spec in interface.outputs if not row.answer or spec.dims == (len(source.labels),)]
    if row.answer:
        steps.append(ensemble_step(f"{name}-answer", row.answer_inputs, [spec.name for spec in words]))
    return pb.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=interface.max_batch_size,
        input=[model_input(spec) for spec in row.texts],
        output=[labelled_output(spec, source.labels) for spec in (*outputs, *words)],
        ensemble_scheduling=pb.ModelEnsembling(step=steps),
        parameters={key: pb.ModelParameter(string_value=value) for key, value in _purpose(name, source).items()},
    )


def _purpose(name: str, source: EncoderSource) -> dict[str, str]:
    """Return the parameters that say what the ensemble is for, if a front can make use of them."""
    if source.task.value not in TASKS_OF_FRONTS:
        return {}
    purpose = Purpose(source.task.value, f"{name}-tokenizer", source.prompts, source.max_length)
    return purpose.parameters()
