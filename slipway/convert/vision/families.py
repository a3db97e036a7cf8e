"""The networks of `transformers` that see images and can be converted: tables by `model_type`.

A classifier needs no row, because all of them map pixels to one logit per label; a detector does, because its boxes are
read in different ways. The gate decides about each network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from slipway.convert.directory import Task
from slipway.errors import SlipwayError, invalid

SOFTMAX: Final = "softmax"  # one object per query: its most probable label, the last logit standing for "no object"
SIGMOID: Final = "sigmoid"  # the highest scores of all pairs of query and label


@dataclass(frozen=True, slots=True)
class DetectorFamily:
    """How objects are read from a detector's queries, as in its image processor of transformers: by `scores`, and at
    most `most` of an image (0: as many as there are queries). `masked`: the network takes pixel_mask. `chooses`: its
    queries are the places of the image with the highest scores, so their order has no meaning."""

    scores: str
    masked: bool = False
    most: int = 0
    chooses: bool = False


DETECTORS: Final[Mapping[str, DetectorFamily]] = {
    "conditional_detr": DetectorFamily(SIGMOID, masked=True, most=100),
    "d_fine": DetectorFamily(SIGMOID, chooses=True),
    "deformable_detr": DetectorFamily(SIGMOID, masked=True, most=100),
    "detr": DetectorFamily(SOFTMAX, masked=True),
    "rt_detr": DetectorFamily(SIGMOID, chooses=True),
    "rt_detr_v2": DetectorFamily(SIGMOID, chooses=True),
    "table-transformer": DetectorFamily(SOFTMAX, masked=True),
    "yolos": DetectorFamily(SOFTMAX),
}


@dataclass(frozen=True, slots=True)
class PairedFamily:
    """A family that maps images and texts into one space, by the class that holds both networks. `fixed_text`: its
    network for texts reads no mask and expects every text padded to the same number of tokens."""

    architecture: str
    fixed_text: bool = False


PAIRED: Final[Mapping[str, PairedFamily]] = {
    "clip": PairedFamily("CLIPModel"),
    "siglip": PairedFamily("SiglipModel", fixed_text=True),
}
# Tasks by the suffix of an architecture's name.
HEADS: Final[Mapping[str, tuple[Task, ...]]] = {
    "ForImageClassification": (Task.IMAGE_CLASSIFICATION,),
    "ForImageClassificationWithTeacher": (Task.IMAGE_CLASSIFICATION,),
    "ForObjectDetection": (Task.OBJECT_DETECTION,),
}
_BOTH_SIDES: Final = (Task.IMAGE_EMBEDDING, Task.TEXT_EMBEDDING)
# The classifiers whose conversion is tested; others are converted too, if their trace passes the gate.
_CLASSIFIERS: Final = "beit, convnext, convnextv2, deit, resnet, swin, swinv2, vit"
# Heads of networks that see images, but whose outputs no task returns.
_OTHERS: Final = (
    "ForSemanticSegmentation", "ForImageSegmentation", "ForInstanceSegmentation", "ForUniversalSegmentation",
    "ForDepthEstimation", "ForMaskedImageModeling", "ForZeroShotObjectDetection", "ForImageToImage",
    "ForKeypointDetection", "ForVideoClassification", "ForPanopticSegmentation", "ForImageSuperResolution",
)  # fmt: skip


def tasks_of(model_type: str, architecture: str) -> tuple[Task, ...]:
    """Return the tasks that a network can do, the default first; () if it does not see images."""
    tasks = next((tasks for suffix, tasks in HEADS.items() if architecture.endswith(suffix)), ())
    paired = PAIRED.get(model_type)
    return tasks or (_BOTH_SIDES if paired and architecture in ("", paired.architecture) else ())


def sees_images(model_type: str, architecture: str) -> bool:
    """Return whether a directory belongs to this wing, even if its network cannot be converted."""
    return bool(tasks_of(model_type, architecture)) or model_type in PAIRED or architecture.endswith(_OTHERS)


def unknown_vision(model_type: str, architecture: str) -> SlipwayError:
    """Return the error for a network that sees images but cannot be converted."""
    return invalid(
        f"architecture '{architecture or model_type}' (model_type '{model_type}') is not supported; of networks that "
        f"see images, these are: *ForImageClassification ({_CLASSIFIERS} and others), *ForObjectDetection "
        f"({', '.join(DETECTORS)}), and the models of both images and texts of {', '.join(PAIRED)}; as a workaround, "
        f"export it to ONNX and convert that file"
    )
