"""Writes the model that turns images into a network's input: its config, its settings and its code."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.configs import python_config, write_python_model
from slipway.convert.vision.image_settings import ImageSettings
from slipway.core.signature import TensorSpec

IMAGE: Final = TensorSpec("image", "UINT8", (-1, -1, -1), optional=True)
ENCODED_IMAGE: Final = TensorSpec("encoded_image", "BYTES", (1,), optional=True)
_INPUTS: Final = (IMAGE, ENCODED_IMAGE)
_SAMPLE: Final = (96, 128, 3)
# Clients' files are decoded by C libraries: one that crashes must not end the server. It costs about a millisecond.
_PARAMETERS: Final = {"EXECUTION_MODE": "process"}


def processor_outputs(settings: ImageSettings, *, mask: bool = False, size: bool = False) -> tuple[TensorSpec, ...]:
    """Return what the model gives: pixel_values, and if wanted pixel_mask and original_size."""
    height, width = settings.height or -1, settings.width or -1
    outputs = [TensorSpec("pixel_values", "FP32", (3, height, width))]
    if mask:
        outputs.append(TensorSpec("pixel_mask", "INT64", (height, width)))
    if size:
        outputs.append(TensorSpec("original_size", "INT64", (2,)))
    return tuple(outputs)


def write_processor(
    directory: Path, settings: ImageSettings, max_batch: int, *, mask: bool = False, size: bool = False
) -> None:
    """Write the model into `directory`, whose name becomes the model's; `max_batch` is at least 1."""
    outputs = processor_outputs(settings, mask=mask, size=size)
    config = python_config(directory.name, _INPUTS, outputs, max_batch, _PARAMETERS)
    config.model_warmup.append(sample_request())
    version = write_python_model(directory, config, "image_processor")
    (version / "image.json").write_text(settings.to_json(), encoding="utf-8")


def sample_request() -> pb.ModelWarmup:
    """Return a request with one random image for `model_warmup`: without it, a tool that makes requests from a config
    alone, such as `slipway verify`, would leave out both optional inputs."""
    pixels = pb.ModelWarmup.Input(data_type=pb.TYPE_UINT8, dims=_SAMPLE, random_data=True)
    return pb.ModelWarmup(name="one image", batch_size=1, inputs={IMAGE.name: pixels})
