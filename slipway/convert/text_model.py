"""One conversion, from a Hugging Face directory to a servable text model: read, export, verify, package."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from slipway.convert.encoder import build_encoder, export_onnx, load_network, quiet_libraries
from slipway.convert.gate import Check, check_encoder, check_tokenizer
from slipway.convert.package import VERSION, model_names, staged, write_models
from slipway.convert.source import Source, Task, read_source
from slipway.convert.tokenizer import build_tokenizer, load_reference_tokenizer
from slipway.errors import invalid

MAX_BATCH_SIZE: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@dataclass(frozen=True, slots=True)
class Conversion:
    """What one conversion made: model names, the gate's comparisons, seconds taken."""

    source: Source
    models: tuple[str, ...]
    output: str  # name and shape, for people
    checks: tuple[Check, ...]
    seconds: float


def convert_text_model(directory: Path, *, name: str, repository: Path, overwrite: bool = False) -> Conversion:
    """Write the models `<name>-tokenizer`, `<name>-model` and the ensemble `<name>` into `repository`.

    Raise `SlipwayError` with a one-line cause, and nothing written, when the source is unusable, when a model of one
    of these names exists and `overwrite` is false, or when the export differs from `transformers`.
    """
    started = time.monotonic()
    if not _NAME.fullmatch(name):
        raise invalid(f"'{name}' is not a model name: use letters, digits, '_', '-' and '.'")
    _require_libraries()
    source = read_source(directory)
    tokenizer_name, encoder_name, _ = model_names(name)
    with staged(repository, name, overwrite=overwrite) as staging, quiet_libraries():
        reference = load_reference_tokenizer(source)
        network = load_network(source)
        tokenizer = build_tokenizer(source, reference)
        dims = _output_dims(source, network.config)
        write_models(staging, name, source, dims, MAX_BATCH_SIZE)
        model_file = staging / encoder_name / VERSION / "model.onnx"
        export_onnx(source, build_encoder(source, network), model_file)
        tokenizer.save(str(staging / tokenizer_name / VERSION / "tokenizer.json"))
        checks = [
            check_tokenizer(tokenizer, reference, source),
            *check_encoder(source, network, model_file, tokenizer, MAX_BATCH_SIZE),
        ]
    return Conversion(
        source, model_names(name), f"{source.task.value} FP32 {dims}", tuple(checks), time.monotonic() - started
    )


def _require_libraries() -> None:
    missing = [name for name in ("torch", "transformers", "onnx", "safetensors") if find_spec(name) is None]
    if missing:
        raise invalid(f"conversion needs {', '.join(missing)}: pip install 'slipway[convert]'")


def _output_dims(source: Source, config: object) -> list[int]:
    if source.task is Task.CLASSIFICATION:
        return [int(config.num_labels)]  # type: ignore[attr-defined]
    hidden = int(config.hidden_size)  # type: ignore[attr-defined]
    return [-1, hidden] if source.task is Task.HIDDEN_STATES else [hidden]
