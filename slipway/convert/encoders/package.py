"""Write the models of a conversion into the repository: configs, labels, and the Python models around the model.

A text model becomes a tokenizer, the model, a model that turns outputs into answers if the task needs one, and the
ensemble of these. Any other source becomes one model. The files of the model itself are built in build.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.config.measured import BATCHING_MEASURED
from slipway.config.padding import LENGTH_STEP, MAX_PADDING_SHARE, MAX_TOKENS, PAD_VALUES, TRIM_OUTPUTS
from slipway.config.prepared import DEFAULT_TOKENS, PREPARED_TOKENS
from slipway.convert.configs import (
    VERSION,
    ensemble_step,
    model_input,
    model_name,
    model_output,
    python_config,
    write_config,
    write_ensemble,
)
from slipway.convert.directory import Task
from slipway.convert.encoders.batching import PADDING_SHARE
from slipway.convert.encoders.build import Built
from slipway.convert.encoders.source import EncoderSource
from slipway.convert.encoders.subject import Interface
from slipway.convert.encoders.tasks import TASKS, tokenizer_outputs
from slipway.convert.models import model_source
from slipway.convert.plan import Plan
from slipway.core.signature import TensorSpec

if TYPE_CHECKING:
    from tokenizers import Tokenizer

LABELS = "labels.txt"
_EXACT_TOKENS: Final = 64  # most sentences; MiniLM keeps 4 MB for each length, as it would for requests
_CPU, _GPU = pb.ModelInstanceGroup.KIND_CPU, pb.ModelInstanceGroup.KIND_GPU


def text_model_names(name: str) -> tuple[str, ...]:
    """Return all names that a text model may use, in the order in which they must be moved into the repository."""
    return f"{name}-tokenizer", model_name(name), f"{name}-answer", name


def model_config(
    name: str, interface: Interface, built: Built, plan: Plan, labels: Sequence[str] = ()
) -> pb.ModelConfig:
    """Return the config of the model itself, scheduled as in `plan`."""
    parameters = dict(built.parameters)
    config = pb.ModelConfig(
        name=name,
        backend=built.backend,
        platform=built.platform,
        default_model_filename=built.file,
        max_batch_size=interface.max_batch_size,
        input=[model_input(spec) for spec in interface.inputs],
        output=[labelled_output(spec, labels) for spec in interface.outputs],
        instance_group=[pb.ModelInstanceGroup(count=plan.instances, kind=_GPU if built.on_gpu else _CPU)],
    )
    if built.graph_level:
        config.optimization.graph.level = built.graph_level
    if plan.instances > 1 and built.backend == "onnxruntime":
        parameters["intra_op_thread_count"] = "1"  # otherwise each instance would use all cores
    if plan.max_tokens:
        config.dynamic_batching.SetInParent()
        parameters |= _length_batching(interface, built, plan)
    elif plan.why and interface.max_batch_size > 1:
        parameters[BATCHING_MEASURED] = plan.why
    parameters |= _prepared(interface, built, plan)
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return config


def _length_batching(interface: Interface, built: Built, plan: Plan) -> dict[str, str]:
    if not interface.pad_values:
        return {}
    trims = " ".join(f"{output}.{dim}={name}.{axis}" for output, dim, name, axis in interface.trims)
    return {
        PAD_VALUES: " ".join(f"{name}={value}" for name, value in interface.pad_values.items()),
        MAX_PADDING_SHARE: f"{PADDING_SHARE:g}",
        MAX_TOKENS: str(plan.max_tokens),
        **({TRIM_OUTPUTS: trims} if trims else {}),
        **({LENGTH_STEP: str(built.length_step)} if built.length_step > 1 else {}),
    }


def _prepared(interface: Interface, built: Built, plan: Plan) -> dict[str, str]:
    """Return which shapes a server prepares in advance: none of several instances, because each has its own memory for
    them, and fewer if lengths are not rounded up, because every length is then a shape."""
    if built.backend != "openvino" or not interface.pad_values or not interface.longest or plan.instances > 1:
        return {}
    most = DEFAULT_TOKENS if plan.max_tokens and built.length_step > 1 else _EXACT_TOKENS
    return {PREPARED_TOKENS: str(min(interface.longest, most))}


def labelled_output(spec: TensorSpec, labels: Sequence[str]) -> pb.ModelOutput:
    """Return an output of a config, with a label file if it has one value per label."""
    output = model_output(spec)
    if labels and spec.dims == (len(labels),):
        output.label_filename = LABELS
    return output


def write_text_models(
    directory: Path, name: str, source: EncoderSource, interface: Interface, tokenizer: Tokenizer, mask_id: int | None
) -> tuple[str, ...]:
    """Write the models around the encoder of a text model; return all names, including the encoder's."""
    around = [_tokenizer_config(f"{name}-tokenizer", source, interface)]
    row = TASKS[source.task]
    if row.answer:
        around.append(_answer_config(f"{name}-answer", source, interface, mask_id))
    for config in around:
        _write_python_model(directory, config, source, tokenizer)
    ensemble = _ensemble_config(name, source, interface)
    write_ensemble(directory / name, ensemble)
    if any(output.label_filename for output in ensemble.output):
        write_labels(directory / name, source.labels)
    return (around[0].name, model_name(name), *(config.name for config in around[1:]), name)


def write_labels(directory: Path, labels: Sequence[str]) -> None:
    """Write one label per line, as label files and the answer models require."""
    lines = (" ".join(label.splitlines()) for label in labels)
    (directory / LABELS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def _write_python_model(directory: Path, config: pb.ModelConfig, source: EncoderSource, tokenizer: Tokenizer) -> None:
    version = directory / config.name / VERSION
    version.mkdir(parents=True)
    write_config(version.parent, config)
    row = TASKS[source.task]
    answers = config.name.endswith("-answer")
    template = f"answer_{row.answer}" if answers else "tokenizer"
    (version / "model.py").write_text(model_source(template), encoding="utf-8")
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
    )
