"""Write the models around a network that sees images: configs, labels, and Python models.

NAME-processor  image or encoded_image -> pixel_values, and what else the network or its answer needs
NAME-model      the network, built and configured in candidates/
NAME-answer     labels and scores, or boxes, scores and labels; none for vectors
NAME            the ensemble of these

The side of a network that reads texts becomes NAME-tokenizer, NAME-model and the ensemble NAME.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.candidates.config import labelled_output, write_labels
from slipway.convert.candidates.subject import Interface
from slipway.convert.configs import (
    ensemble_step,
    model_input,
    model_name,
    model_output,
    python_config,
    write_ensemble,
    write_python_model,
)
from slipway.convert.directory import Task
from slipway.convert.vision.image_settings import ImageSettings
from slipway.convert.vision.processor_model import ENCODED_IMAGE, IMAGE, write_processor
from slipway.convert.vision.source import VisionSource
from slipway.convert.vision.text_side import PairText
from slipway.core.signature import TensorSpec

_IMAGES: Final = (IMAGE, ENCODED_IMAGE)
_TEXT: Final = TensorSpec("text", "BYTES", (1,))
_SIZE: Final = TensorSpec("original_size", "INT64", (2,))  # height, width
_THRESHOLD: Final = TensorSpec("threshold", "FP32", (1,), optional=True)
_OBJECTS: Final = (
    TensorSpec("boxes", "FP32", (-1, 4)),
    TensorSpec("scores", "FP32", (-1,)),
    TensorSpec("labels", "BYTES", (-1,)),
)
# The Python model that turns a task's outputs into answers.
ANSWERS: Final = {Task.IMAGE_CLASSIFICATION: "answer_classification", Task.OBJECT_DETECTION: "answer_detection"}


def vision_model_names(name: str) -> tuple[str, ...]:
    """Return all names that this wing may use, in the order in which they are moved into the repository."""
    return f"{name}-processor", f"{name}-tokenizer", model_name(name), f"{name}-answer", name


def written_names(name: str, task: Task) -> tuple[str, ...]:
    """Return the names of the models that a task needs."""
    unused = {f"{name}-processor" if task is Task.TEXT_EMBEDDING else f"{name}-tokenizer"}
    if task not in ANSWERS:
        unused.add(f"{name}-answer")
    return tuple(each for each in vision_model_names(name) if each not in unused)


def write_text_side(directory: Path, name: str, side: PairText, interface: Interface) -> None:
    """Write the tokenizer and the ensemble of a network that reads texts into `directory`."""
    config = python_config(f"{name}-tokenizer", (_TEXT,), interface.inputs, interface.max_batch_size, {})
    version = write_python_model(directory / config.name, config, "tokenizer")
    side.tokenizer.save(str(version / "tokenizer.json"))
    ids = [spec.name for spec in interface.inputs]
    ensemble = pb.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=interface.max_batch_size,
        input=[model_input(_TEXT)],
        output=[model_output(spec) for spec in interface.outputs],
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                ensemble_step(config.name, [_TEXT.name], ids),
                ensemble_step(model_name(name), ids, [spec.name for spec in interface.outputs]),
            ]
        ),
    )
    write_ensemble(directory / name, ensemble)


def write_vision_models(
    directory: Path, name: str, source: VisionSource, interface: Interface, settings: ImageSettings
) -> None:
    """Write every model except the network into `directory`."""
    detects = source.detector is not None
    masks = any(spec.name == "pixel_mask" for spec in interface.inputs)
    write_processor(directory / f"{name}-processor", settings, interface.max_batch_size, mask=masks, size=detects)
    answers = _answers(source)
    if answers:
        _write_answer(directory, _answer_config(name, source, interface, answers), source)
    ensemble = _ensemble(name, source, interface, answers)
    write_ensemble(directory / name, ensemble)
    if any(output.label_filename for output in ensemble.output):
        write_labels(directory / name, source.labels)


def _answers(source: VisionSource) -> tuple[TensorSpec, ...]:
    """Return the outputs of the answer model, () if there is none."""
    if source.task is Task.OBJECT_DETECTION:
        return _OBJECTS
    if source.task is Task.IMAGE_CLASSIFICATION:
        return TensorSpec("label", "BYTES", (1,)), TensorSpec("scores", "FP32", (len(source.labels),))
    return ()


def _answer_config(
    name: str, source: VisionSource, interface: Interface, answers: Sequence[TensorSpec]
) -> pb.ModelConfig:
    if source.detector is None:
        inputs, parameters = interface.outputs, {"SCORES": source.scores}
    else:
        inputs = (*interface.outputs, _SIZE, _THRESHOLD)
        parameters = {"SCORES": source.detector.scores, "MOST": str(source.detector.most)}
    return python_config(f"{name}-answer", inputs, answers, interface.max_batch_size, parameters)


def _write_answer(directory: Path, config: pb.ModelConfig, source: VisionSource) -> None:
    version = write_python_model(directory / config.name, config, ANSWERS[source.task])
    write_labels(version, source.labels)


def _ensemble(name: str, source: VisionSource, interface: Interface, answers: Sequence[TensorSpec]) -> pb.ModelConfig:
    detects = source.detector is not None
    pixels = [spec.name for spec in interface.inputs]
    found = [spec.name for spec in interface.outputs]
    sizes, extra = ([_SIZE.name], (_THRESHOLD,)) if detects else ([], ())
    steps = [
        ensemble_step(f"{name}-processor", [spec.name for spec in _IMAGES], [*pixels, *sizes]),
        ensemble_step(model_name(name), pixels, found),
    ]
    if answers:
        inputs = [*found, *sizes, *(spec.name for spec in extra)]
        steps.append(ensemble_step(f"{name}-answer", inputs, [spec.name for spec in answers]))
    outputs = () if detects else interface.outputs  # a detector's queries are thousands of numbers that nobody reads
    return pb.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=interface.max_batch_size,
        input=[model_input(spec) for spec in (*_IMAGES, *extra)],
        output=[labelled_output(spec, source.labels) for spec in (*outputs, *answers)],
        ensemble_scheduling=pb.ModelEnsembling(step=steps),
    )
