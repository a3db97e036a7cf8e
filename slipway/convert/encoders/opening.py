"""Open a source that does not generate text: its kind, the models that it becomes, and the files around the model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from slipway.backends.pytorch.archive import TorchFile, kind_of
from slipway.convert.arrays import Arrays, Run
from slipway.convert.configs import model_name
from slipway.convert.directory import Task
from slipway.convert.encoders.declared import DeclaredInput, parse_input
from slipway.convert.encoders.encoder import load_network
from slipway.convert.encoders.foreign import (
    check_arrays,
    check_custom_code,
    check_foreign_files,
    check_vocabulary,
)
from slipway.convert.encoders.gate import Expectation
from slipway.convert.encoders.graph_subject import GraphSubject
from slipway.convert.encoders.module_subject import ModuleSubject
from slipway.convert.encoders.package import text_model_names, write_text_models
from slipway.convert.encoders.program_subject import ProgramSubject
from slipway.convert.encoders.sampling import read_calibration
from slipway.convert.encoders.settings import config_notes, known_keys, refuse_quantised
from slipway.convert.encoders.source import read_source
from slipway.convert.encoders.subject import Subject
from slipway.convert.encoders.tasks import TASKS
from slipway.convert.encoders.text_subject import TEXTS, TextSubject
from slipway.convert.encoders.tokenizer import (
    build_tokenizer,
    check_tokenizer,
    count_prompt_tokens,
    load_reference_tokenizer,
)
from slipway.convert.options import ConvertOptions
from slipway.convert.sample import sample_texts
from slipway.errors import SlipwayError, invalid

_TORCH_FILES: Final = (".pt", ".pt2", ".pth", ".ts")
_MOST_TEXTS: Final = 300  # of a calibration file; more only take time


# Returns what is wrong with a candidate of a precision that passed the common criteria.
AlsoJudge = Callable[[Run, Sequence[Expectation], str], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class OpenedSource:
    """An opened source. `model` is the name of the model itself, `models` are the names of all models written, `taken`
    those that may be replaced; `write_around` writes everything except the model itself into a directory; `also_judge`
    adds criteria to the gate."""

    subject: Subject
    model: str
    models: tuple[str, ...]
    taken: tuple[str, ...]
    task: str
    labels: tuple[str, ...]
    write_around: Callable[[Path], object]
    takes_text: bool
    notes: tuple[str, ...] = ()  # differences from the source, and unused settings
    also_judge: AlsoJudge | None = None

    def calibration(self, path: Path | None) -> str:
        """Return a description of the int8 calibration data for the report."""
        sample = "a built-in sample of English text and random ids" if self.takes_text else "random values"
        return f"the file {path}" if path else f"{sample} (no --calibration file given)"

    def calibration_rows(self, path: Path | None) -> Sequence[Arrays]:
        """Return the rows to quantise with, from a file (one text per line, or .npz arrays) or the sample."""
        if path is None:
            return self.subject.calibration(sample_texts())
        if not self.takes_text:
            return read_calibration(path, self.subject.interface)
        try:
            lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise invalid(f"calibration file '{path}' cannot be read as UTF-8 text: {error}") from None
        texts = [line for line in lines if line][:_MOST_TEXTS]
        if not texts:
            raise invalid(f"calibration file '{path}' contains no text")
        return self.subject.calibration(texts)


def open_source(path: Path, options: ConvertOptions) -> OpenedSource:
    """Return the opened source, a file or a directory; raise `SlipwayError` if it cannot be converted."""
    if path.is_file():
        return open_file(path, options)
    if options.sample is not None:
        raise invalid("--sample is for ONNX and torch files; use --calibration for the calibration of int8")
    return _text_model(path, options)


def open_file(path: Path, options: ConvertOptions) -> OpenedSource:
    """Return an opened ONNX or torch file, which becomes one model."""
    declared = [parse_input(text) for text in options.inputs]
    if path.suffix == ".onnx":
        subject: Subject = GraphSubject(path, declared, options.sample)
    elif path.suffix in _TORCH_FILES:
        subject = _torch_subject(path, declared, options.sample)
    else:
        endings = ", ".join((".onnx", *_TORCH_FILES))
        raise invalid(f"'{path}' is not a supported source: expected a directory or a file that ends in {endings}")
    name = options.name
    return OpenedSource(
        subject=subject,
        model=name,
        models=(name,),
        taken=(name,),
        task=path.suffix[1:],
        labels=(),
        write_around=lambda _: None,
        takes_text=False,
    )


def _torch_subject(path: Path, declared: Sequence[DeclaredInput], sample: Path | None) -> Subject:
    try:
        kind = kind_of(path, path.name)
    except SlipwayError as error:
        raise invalid(f"'{path}' is not a TorchScript or torch.export file: {error.message}") from error
    return (ProgramSubject if kind is TorchFile.EXPORTED else ModuleSubject)(path, declared, sample)


def _text_model(path: Path, options: ConvertOptions) -> OpenedSource:
    notes = check_foreign_files(path, options.task)
    source = read_source(path, task=options.task, hypothesis=options.hypothesis)
    refuse_quantised(source.directory)
    notes += check_custom_code(source.directory, source.model_type, source.task)
    reference = load_reference_tokenizer(source)
    if "token_type_ids" not in reference.model_input_names:  # the network was trained with all of them zero
        source = replace(source, family=replace(source.family, token_types=False))
    source = replace(source, prompt_tokens=count_prompt_tokens(source, reference))
    loaded = load_network(source)
    network = loaded.module
    check_vocabulary(reference, network.get_input_embeddings().num_embeddings, source.directory)
    notes += check_arrays(loaded.unexpected, network, source.task, source.directory, bare=options.task is source.task)
    notes += [*source.notes, *config_notes(source.directory, known_keys(network.config))]
    tokenizer = build_tokenizer(source, reference)
    check_tokenizer(tokenizer, reference, source, TEXTS)
    subject = TextSubject(source, network, tokenizer, sample_texts())
    mask_id = None
    if source.task is Task.MASK:
        mask_id = reference.mask_token_id
        if mask_id is None:
            raise invalid(f"the tokenizer of '{path}' has no mask token to fill")
    name, row = options.name, TASKS[source.task]
    models = tuple(each for each in text_model_names(name) if row.answer or not each.endswith("-answer"))
    labels = source.labels if source.task is Task.CLASSIFICATION else ()

    def write_around(directory: Path) -> None:
        write_text_models(directory, name, source, subject.interface, tokenizer, mask_id)

    return OpenedSource(
        subject=subject,
        model=model_name(name),
        models=models,
        taken=text_model_names(name),
        task=source.task.value,
        labels=labels,
        write_around=write_around,
        takes_text=True,
        notes=tuple(notes),
    )
