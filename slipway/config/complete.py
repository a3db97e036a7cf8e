"""Fill in what a config.pbtxt leaves out and the model's directory tells: name, backend, platform, file name.

What the model file itself tells (inputs, outputs, batching) is its backend's to fill in. Source: triton.md section 10,
Triton `model_config_utils.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.errors import invalid


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of model file; `platform` is the legacy selector, "" where there is none."""

    file_name: str
    backend: str
    platform: str


FORMATS: Final = (
    Format("model.plan", "tensorrt", "tensorrt_plan"),
    Format("model.onnx", "onnxruntime", "onnxruntime_onnx"),
    Format("model.xml", "openvino", ""),
    Format("model.pt", "pytorch", "pytorch_libtorch"),
    Format("model.pt2", "pytorch", "torch_aoti"),
    Format("model.py", "python", ""),
)
ENSEMBLE: Final = "ensemble"
_BY_BACKEND: Final = {row.backend: row for row in reversed(FORMATS)}
_BY_PLATFORM: Final = {row.platform: row for row in FORMATS if row.platform}


def complete_from_files(
    config: model_config_pb2.ModelConfig, model_directory: Path, version_directory: Path | None
) -> None:
    """Complete `config` in place from its directory; raise INVALID_ARG where no backend can be found."""
    if not config.name:
        config.name = model_directory.name
    if config.platform == ENSEMBLE or config.HasField("ensemble_scheduling"):
        if not config.platform and not config.backend:
            config.platform = ENSEMBLE
        return
    if not config.backend:
        _complete_backend(config, version_directory)
    if not config.default_model_filename and config.backend in _BY_BACKEND:
        config.default_model_filename = _file_name(config, version_directory)
    _check_agreement(config)


def _complete_backend(config: model_config_pb2.ModelConfig, version_directory: Path | None) -> None:
    """Set the backend from, in this order: the platform, the model file found, the model's name (`x.<backend>`)."""
    found = _BY_PLATFORM.get(config.platform)
    if found is None and not config.platform:
        found = next((row for row in FORMATS if _exists(version_directory, row.file_name)), None)
        if found is not None:
            config.platform = found.platform
            config.default_model_filename = config.default_model_filename or found.file_name
    if found is not None:
        config.backend = found.backend
        return
    _, dot, suffix = config.name.rpartition(".")
    if not dot or not suffix or config.platform:
        raise invalid(
            f"Invalid model name: Could not determine backend for model '{config.name}' with no backend in model "
            "configuration. Expected model name of the form 'model.<backend_name>'."
        )
    config.backend = suffix


def _exists(directory: Path | None, file_name: str) -> bool:
    return directory is not None and (directory / file_name).exists()


def _file_name(config: model_config_pb2.ModelConfig, version_directory: Path | None) -> str:
    """Return the default file name of the backend: of several (model.pt, model.pt2) the one that is there."""
    by_platform = _BY_PLATFORM.get(config.platform)
    if by_platform is not None:
        return by_platform.file_name
    names = [row.file_name for row in FORMATS if row.backend == config.backend]
    return next((name for name in names if _exists(version_directory, name)), names[0])


def _check_agreement(config: model_config_pb2.ModelConfig) -> None:
    """Refuse a platform that belongs to another backend than the one given."""
    owner = _BY_PLATFORM.get(config.platform)
    if owner is not None and owner.backend != config.backend:
        raise invalid(
            f"model '{config.name}' has platform '{config.platform}', which belongs to backend '{owner.backend}', "
            f"but names backend '{config.backend}': remove one of them"
        )
