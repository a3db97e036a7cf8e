"""Fill in what a config.pbtxt omits and the model's directory shows: name, backend, platform, file name.

The backend fills in what the model file itself shows (inputs, outputs, batching). Source: Triton's
`docs/user_guide/model_configuration.md`, "Auto-Generated Model Configuration", and core `src/model_config_utils.cc`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.errors import SlipwayError, refused
from slipway.problems import Problem, Rule


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of model file; `platform` is the legacy selector, "" if there is none."""

    file_name: str
    backend: str
    platform: str


# In the order in which Triton looks for them.
FORMATS: Final = (
    Format("model.savedmodel", "tensorflow", "tensorflow_savedmodel"),
    Format("model.graphdef", "tensorflow", "tensorflow_graphdef"),
    Format("model.plan", "tensorrt", "tensorrt_plan"),
    Format("model.onnx", "onnxruntime", "onnxruntime_onnx"),
    Format("model.xml", "openvino", ""),
    Format("model.pt", "pytorch", "pytorch_libtorch"),
    Format("model.pt2", "pytorch", "torch_aoti"),
    Format("model.py", "python", ""),
)
ENSEMBLE: Final = "ensemble"
_PLATFORM_BACKENDS: Final = frozenset(row.backend for row in FORMATS if row.platform)
_ELSEWHERE: Final = ("tensorflow", "tensorrt")  # not served here, or only on NVIDIA GPUs: never suggested
_ADVISED: Final = tuple(dict.fromkeys(row.backend for row in FORMATS if row.backend not in _ELSEWHERE))


def complete_from_files(
    config: model_config_pb2.ModelConfig, model_directory: Path, version_directory: Path | None
) -> None:
    """Complete `config` in place from its directory; raise INVALID_ARG if no backend can be determined."""
    if not config.name:
        config.name = model_directory.name
    if config.platform == ENSEMBLE or config.HasField("ensemble_scheduling"):
        if not config.platform and not config.backend:
            config.platform = ENSEMBLE
        return
    if not config.backend:
        _complete_backend(config, version_directory)
    _complete_format(config, version_directory)
    if config.backend in _PLATFORM_BACKENDS and not _formats(config):
        raise _bad_platform(f"unexpected 'platform' and 'backend' pair, got:{config.platform}, {config.backend}")


def _bad_platform(text: str) -> SlipwayError:
    fix = f"remove platform, and set backend to one of {', '.join(_ADVISED)}"
    return refused(Problem(Rule.PLATFORM_BACKEND, text, ("platform",), fix))


def _complete_backend(config: model_config_pb2.ModelConfig, version_directory: Path | None) -> None:
    """Set the backend by the platform or file name in the config, else by the files, else by the name `x.<backend>`."""
    if config.platform or config.default_model_filename:
        row = next((row for row in FORMATS if _is_named(row, config)), None)
        if row is None:
            raise _bad_platform(f"unexpected platform type '{config.platform}' for {config.name}")
        config.backend = row.backend
        return
    found = next((row for row in FORMATS if _exists(version_directory, row.file_name)), None)
    if found is not None:
        config.backend, config.platform = found.backend, found.platform
        return
    _, _, suffix = config.name.rpartition(".") if "." in config.name else ("", "", "")
    if not suffix:
        text = (
            f"Invalid model name: Could not determine backend for model '{config.name}' with no backend in model "
            "configuration. Expected model name of the form 'model.<backend_name>'."
        )
        raise refused(
            Problem(Rule.PLATFORM_BACKEND, text, (), "set backend, or add the model's file to the version directory")
        )
    config.backend = suffix
    config.default_model_filename = f"model.{suffix}"


def _is_named(row: Format, config: model_config_pb2.ModelConfig) -> bool:
    platform, file_name = str(config.platform), str(config.default_model_filename)
    return file_name == row.file_name or (platform != "" and platform == row.platform)


def _complete_format(config: model_config_pb2.ModelConfig, version_directory: Path | None) -> None:
    """Set the platform and file name that belong to the backend; of several, those of the file that exists."""
    rows = _formats(config)
    if not rows:
        return
    row = next((row for row in rows if _exists(version_directory, row.file_name)), rows[0])
    config.platform = config.platform or row.platform
    runs_script = config.backend == "pytorch" and config.runtime == "model.py"  # the script finds its own files
    if not config.default_model_filename and not runs_script:
        config.default_model_filename = row.file_name


def _formats(config: model_config_pb2.ModelConfig) -> list[Format]:
    """Return the formats of the config's backend that match its platform, if it has one."""
    return [
        row
        for row in FORMATS
        if row.backend == config.backend and (not row.platform or config.platform in ("", row.platform))
    ]


def _exists(directory: Path | None, file_name: str) -> bool:
    return directory is not None and (directory / file_name).exists()
