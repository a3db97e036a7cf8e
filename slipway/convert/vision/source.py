"""Read the settings of a network that sees images from its Hugging Face directory: architecture, task, labels.

Only JSON is read here; the weights are loaded by network.py, and the image processor's settings by processor.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slipway.convert.directory import Task, choose_task, read_json_object
from slipway.convert.labels import read_labels, score_function
from slipway.convert.vision.families import DETECTORS, PAIRED, DetectorFamily, sees_images, tasks_of, unknown_vision

_CLASSES = {
    Task.IMAGE_CLASSIFICATION: "AutoModelForImageClassification",
    Task.OBJECT_DETECTION: "AutoModelForObjectDetection",
    Task.IMAGE_EMBEDDING: "AutoModel",
    Task.TEXT_EMBEDDING: "AutoModel",
}


@dataclass(frozen=True, slots=True)
class VisionSource:
    """A checkpoint that can be converted. `scores` is the function from a classifier's logits to its scores, `detector`
    how a detector's objects are read; `fixed_text`: its texts are padded to one length and have no mask."""

    directory: Path
    model_type: str
    architecture: str
    task: Task
    labels: tuple[str, ...] = ()
    scores: str = "softmax"
    detector: DetectorFamily | None = None
    fixed_text: bool = False

    @property
    def auto_class(self) -> str:
        """The class of transformers that loads it."""
        return _CLASSES[self.task]


def is_vision(directory: Path) -> bool:
    """Return whether a source is a Hugging Face directory of a network that sees images."""
    if not (directory / "config.json").is_file() or (directory / "modules.json").is_file():
        return False
    return sees_images(*_names(read_json_object(directory / "config.json")))


def read_vision(directory: Path, asked: Task | None) -> VisionSource:
    """Return the source in `directory`; raise `SlipwayError` if it cannot be converted, or not for the task."""
    config = read_json_object(directory / "config.json")
    model_type, architecture = _names(config)
    tasks = tasks_of(model_type, architecture)
    detector = DETECTORS.get(model_type)
    if not tasks or (Task.OBJECT_DETECTION in tasks and detector is None):
        raise unknown_vision(model_type, architecture)
    task = choose_task(asked, tasks, architecture)
    labels = read_labels(config) if task not in (Task.IMAGE_EMBEDDING, Task.TEXT_EMBEDDING) else ()
    return VisionSource(
        directory=directory,
        model_type=model_type,
        architecture=architecture,
        task=task,
        labels=labels,
        scores=score_function(config, labels),
        detector=detector if task is Task.OBJECT_DETECTION else None,
        fixed_text=task is Task.TEXT_EMBEDDING and PAIRED[model_type].fixed_text,
    )


def _names(config: dict[str, Any]) -> tuple[str, str]:
    """Return the model type and the architecture, "" if the config does not name them."""
    named = config.get("architectures")
    return str(config.get("model_type") or ""), str(named[0]) if isinstance(named, list) and named else ""
