"""OpenVINO models on disk, and loading them, in a line each."""

from __future__ import annotations

from pathlib import Path

from slipway.backends.openvino.backend import LoadedOpenVinoModel, OpenVinoBackend
from slipway.openvino_library import import_openvino
from tests.backends.models import completion, context, parse


def to_ir(directory: Path) -> Path:
    """Turn the ONNX file of a model's directory into `model.xml` and `model.bin`; return the directory."""
    openvino = import_openvino()
    onnx_file = directory / "1" / "model.onnx"
    core = openvino.Core()
    core.set_property({"ENABLE_MMAP": False})
    openvino.save_model(core.read_model(onnx_file), onnx_file.with_suffix(".xml"), compress_to_fp16=False)
    onnx_file.unlink()
    return directory


def parameter(key: str, value: object) -> str:
    return f'parameters {{ key: "{key}" value {{ string_value: "{value}" }} }} '


def completed(directory: Path, text: str = ""):
    config = parse(text)
    OpenVinoBackend().complete(config, completion(directory))
    return config


def load(directory: Path, text: str = "", *, file: str = "", threads: int = 1) -> LoadedOpenVinoModel:
    """Load with `text`, completed from the graph."""
    if file:
        text += f' default_model_filename: "{file}"'
    return OpenVinoBackend().load(context(directory, str(completed(directory, text)), threads=threads))
