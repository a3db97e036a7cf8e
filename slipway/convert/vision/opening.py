"""Open a Hugging Face directory of a network that sees images: the models that it becomes, and what is around it."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path
from typing import Any

from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.configs import model_name
from slipway.convert.custom_code import check_custom_code
from slipway.convert.directory import Task
from slipway.convert.libraries import require_libraries
from slipway.convert.options import ConvertOptions
from slipway.convert.settings import config_notes, known_keys, refuse_quantised
from slipway.convert.vision.matching import ObjectMatching
from slipway.convert.vision.network import image_network, is_decided, load_network, text_network
from slipway.convert.vision.package import vision_model_names, write_text_side, write_vision_models, written_names
from slipway.convert.vision.processor import read_image_settings
from slipway.convert.vision.processor_check import check_processor, open_reference_processor
from slipway.convert.vision.source import VisionSource, read_vision
from slipway.convert.vision.subject import ImageSubject, preparing
from slipway.convert.vision.text_side import PairText, PairTextSubject
from slipway.errors import invalid


def open_vision_source(path: Path, options: ConvertOptions) -> OpenedSource:
    """Return the opened directory; raise `SlipwayError` if it cannot be converted."""
    require_libraries(("PIL",), "convert")
    _check_options(options)
    source = read_vision(path, options.task)
    refuse_quantised(path)
    notes = check_custom_code(path, source.model_type, source.auto_class)
    network, unused = load_network(source)
    notes += [*unused, *config_notes(path, known_keys(network.config))]
    opened = _texts if source.task is Task.TEXT_EMBEDDING else _images
    return opened(source, network, options.name, notes)


def _check_options(options: ConvertOptions) -> None:
    """Refuse the options that only other sources have."""
    if options.sample is not None:
        raise invalid("--sample is for ONNX and torch files; use --calibration DIR for pictures to calibrate int8 with")
    if options.inputs:
        raise invalid("--input is for ONNX and torch files; the inputs of this network are known")


def _images(source: VisionSource, network: Any, name: str, notes: list[str]) -> OpenedSource:
    settings = read_image_settings(source.directory)
    processor = open_reference_processor(source.directory)
    check_processor(settings, processor)
    labels, detector = source.task is Task.IMAGE_CLASSIFICATION, source.detector
    subject = ImageSubject(
        image_network(source, network),
        preparing(processor),
        labels=labels,
        matching=ObjectMatching(detector) if detector else None,
        comparable=partial(is_decided, network) if detector and detector.chooses else lambda _: True,
    )
    _check_labels(source, subject)
    return OpenedSource(
        subject=subject,
        model=model_name(name),
        models=written_names(name, source.task),
        taken=vision_model_names(name),
        task=source.task.value,
        labels=source.labels if labels else (),
        write_around=lambda directory: write_vision_models(directory, name, source, subject.interface, settings),
        calibrate=subject.calibration,
        calibration_sample="made-up pictures",
        notes=(*notes, *settings.notes, *_pair_notes(source, network)),
    )


def _texts(source: VisionSource, network: Any, name: str, notes: list[str]) -> OpenedSource:
    side = PairText(source, network.config.text_config)
    subject = PairTextSubject(text_network(source, network), side)
    return OpenedSource(
        subject=subject,
        model=model_name(name),
        models=written_names(name, source.task),
        taken=vision_model_names(name),
        task=source.task.value,
        labels=(),
        write_around=lambda directory: write_text_side(directory, name, side, subject.interface),
        calibrate=subject.calibration,
        calibration_sample="a built-in sample of English text",
        notes=(*notes, *_pair_notes(source, network)),
    )


def _pair_notes(source: VisionSource, network: Any) -> list[str]:
    """Return what a user of vectors needs to know: the other side, and how transformers compares both."""
    if not hasattr(network, "logit_scale"):
        return []
    other = Task.TEXT_EMBEDDING if source.task is Task.IMAGE_EMBEDDING else Task.IMAGE_EMBEDDING
    scale = float(network.logit_scale.detach().double().exp().reshape(-1)[0])  # infinite for a damaged one
    if not math.isfinite(scale):
        raise invalid(f"the checkpoint in '{source.directory}' is damaged: the exponential of logit_scale is {scale}")
    bias = float(network.logit_bias.detach().reshape(-1)[0]) if hasattr(network, "logit_bias") else 0.0
    added = f" plus {bias:.6g}" if bias else ""
    note = (
        f"this is one side of the network; --task {other.value} with another --name converts the other one. "
        f"transformers' logits of an image and a text are the product of their unit embeddings times {scale:.6g}{added}"
    )
    return [note]


def _check_labels(source: VisionSource, subject: ImageSubject) -> None:
    """Raise `SlipwayError` unless there is a label for each class of the network."""
    if not source.labels:
        return
    classes = subject.interface.outputs[0].dims[-1]
    spare = int(source.detector is not None and source.detector.scores == "softmax")  # the class "no object"
    if classes != len(source.labels) + spare:
        raise invalid(
            f"'{source.directory}': config.json names {len(source.labels)} labels, but the network has "
            f"{classes - spare} classes"
        )
