"""Lay a converted text model out as three models of a repository: tokenizer, encoder and their ensemble.

Everything is written to a temporary directory on the repository's file system and renamed at the end; what was there
before survives any failure.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path

from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.source import Source, Task
from slipway.errors import SlipwayError, invalid

VERSION = "1"


def model_names(name: str) -> tuple[str, str, str]:
    """Return the names of tokenizer, encoder and ensemble, in the order in which they must appear."""
    return f"{name}-tokenizer", f"{name}-model", name


def write_models(directory: Path, name: str, source: Source, dims: Sequence[int], max_batch: int) -> None:
    """Write configs, tokenizer code and labels; the caller adds `tokenizer.json` and `model.onnx`."""
    tokenizer, encoder, ensemble = model_names(name)
    output = pb.ModelOutput(name=source.task.value, data_type=pb.TYPE_FP32, dims=list(dims))
    if source.task is Task.CLASSIFICATION and source.labels:
        output.label_filename = "labels.txt"
    for config in (
        _tokenizer_config(tokenizer, source, max_batch),
        _encoder_config(encoder, source, output, max_batch),
        _ensemble_config(ensemble, (tokenizer, encoder), source, output, max_batch),
    ):
        (directory / config.name / VERSION).mkdir(parents=True)
        (directory / config.name / "config.pbtxt").write_text(text_format.MessageToString(config))
        if any(each.label_filename for each in config.output):
            (directory / config.name / "labels.txt").write_text("".join(f"{label}\n" for label in source.labels))
    code = files("slipway.convert").joinpath("tokenizer_model.py.txt").read_text()
    (directory / tokenizer / VERSION / "model.py").write_text(code)
    (directory / ensemble / VERSION / ".gitkeep").touch()  # Triton wants the directory, git drops an empty one


def _id_tensors(source: Source) -> list[tuple[str, list[int]]]:
    return [(name, [-1]) for name in source.input_names]


def _tokenizer_config(name: str, source: Source, max_batch: int) -> pb.ModelConfig:
    return pb.ModelConfig(
        name=name,
        backend="python",
        max_batch_size=max_batch,
        input=[_text_input()],
        output=[pb.ModelOutput(name=each, data_type=pb.TYPE_INT64, dims=dims) for each, dims in _id_tensors(source)],
        instance_group=[pb.ModelInstanceGroup(count=1, kind=pb.ModelInstanceGroup.KIND_CPU)],
        # Slipway runs it in a thread of the server instead of a child process; Triton ignores the key.
        parameters={"EXECUTION_MODE": pb.ModelParameter(string_value="thread")},
    )


def _encoder_config(name: str, source: Source, output: pb.ModelOutput, max_batch: int) -> pb.ModelConfig:
    return pb.ModelConfig(
        name=name,
        backend="onnxruntime",
        max_batch_size=max_batch,
        input=[pb.ModelInput(name=each, data_type=pb.TYPE_INT64, dims=dims) for each, dims in _id_tensors(source)],
        output=[output],
        dynamic_batching=pb.ModelDynamicBatching(),
    )


def _ensemble_config(
    name: str, steps: tuple[str, str], source: Source, output: pb.ModelOutput, max_batch: int
) -> pb.ModelConfig:
    tokenizer, encoder = steps
    ids = {each: each for each in source.input_names}
    return pb.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=max_batch,
        input=[_text_input()],
        output=[output],
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                pb.ModelEnsembling.Step(
                    model_name=tokenizer, model_version=-1, input_map={"text": "text"}, output_map=ids
                ),
                pb.ModelEnsembling.Step(
                    model_name=encoder, model_version=-1, input_map=ids, output_map={output.name: output.name}
                ),
            ]
        ),
    )


def _text_input() -> pb.ModelInput:
    return pb.ModelInput(name="text", data_type=pb.TYPE_STRING, dims=[1])


@contextmanager
def staged(repository: Path, name: str, *, overwrite: bool) -> Iterator[Path]:
    """Yield a temporary directory whose models move into `repository` when the block ends without an error."""
    names = model_names(name)
    taken = [each for each in names if (repository / each).exists()]
    if taken and not overwrite:
        raise invalid(f"'{repository / taken[0]}' exists already; --overwrite replaces it")
    created, staging = _make_directories(repository)
    try:
        yield staging / "new"
        _replace(repository, staging, names)
    except BaseException:
        if created:
            repository.rmdir()
        raise
    finally:
        shutil.rmtree(staging)


def _make_directories(repository: Path) -> tuple[bool, Path]:
    """Return whether the repository is new, and a directory beside it: a server may be watching the inside."""
    existed = repository.is_dir()
    try:
        repository.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".slipway-", dir=repository.resolve().parent))
        (staging / "new").mkdir()
    except OSError as error:
        raise _cannot_write(repository, error) from error
    return not existed, staging


def _replace(repository: Path, staging: Path, names: Sequence[str]) -> None:
    """Move the new models in and the old ones out; on a failure put everything back as it was."""
    old = staging / "old"
    old.mkdir()
    moved: list[tuple[Path, Path]] = []
    try:
        for name in names:
            for start, end in ((repository / name, old / name), (staging / "new" / name, repository / name)):
                if start.exists():
                    start.rename(end)
                    moved.append((start, end))
    except OSError as error:
        for start, end in reversed(moved):
            end.rename(start)
        raise _cannot_write(repository, error) from error


def _cannot_write(repository: Path, error: OSError) -> SlipwayError:
    return invalid(f"cannot write to the repository '{repository}': {error.strerror}")
