"""Open a source that does not generate text: its kind, the models that it becomes, and the files around the model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

from slipway.backends.pytorch.archive import TorchFile, kind_of
from slipway.convert.arrays import Arrays
from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.configs import model_name
from slipway.convert.custom_code import check_custom_code
from slipway.convert.directory import Task
from slipway.convert.encoders.declared import DeclaredInput, parse_input
from slipway.convert.encoders.encoder import load_network
from slipway.convert.encoders.foreign import (
    check_arrays,
    check_foreign_files,
    check_vocabulary,
)
from slipway.convert.encoders.graph_subject import GraphSubject
from slipway.convert.encoders.module_subject import ModuleSubject
from slipway.convert.encoders.package import text_model_names, write_text_models
from slipway.convert.encoders.program_subject import ProgramSubject
from slipway.convert.encoders.sampling import read_calibration
from slipway.convert.encoders.source import read_source
from slipway.convert.encoders.tasks import TASKS
from slipway.convert.encoders.text_subject import TEXTS, TextSubject
from slipway.convert.encoders.tokenizer import (
    build_tokenizer,
    check_tokenizer,
    count_prompt_tokens,
    load_reference_tokenizer,
)
from slipway.convert.options import ConvertOptions
from slipway.convert.sample import read_texts, sample_texts
from slipway.convert.settings import config_notes, known_keys, refuse_quantised
from slipway.errors import SlipwayError, invalid

_TORCH_FILES: Final = (".pt", ".pt2", ".pth", ".ts")
_FileSubject = GraphSubject | ModuleSubject | ProgramSubject


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
        subject: _FileSubject = GraphSubject(path, declared, options.sample)
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
        calibrate=partial(_array_rows, subject),
        calibration_sample="random values",
    )


def _torch_subject(
    path: Path, declared: Sequence[DeclaredInput], sample: Path | None
) -> ModuleSubject | ProgramSubject:
    try:
        kind = kind_of(path, path.name)
    except SlipwayError as error:
        raise invalid(f"'{path}' is not a TorchScript or torch.export file: {error.message}") from error
    return (ProgramSubject if kind is TorchFile.EXPORTED else ModuleSubject)(path, declared, sample)


def _text_model(path: Path, options: ConvertOptions) -> OpenedSource:
    notes = check_foreign_files(path, options.task)
    source = read_source(path, task=options.task, hypothesis=options.hypothesis)
    refuse_quantised(source.directory)
    notes += check_custom_code(source.directory, source.model_type, TASKS[source.task].auto_class)
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
        calibrate=partial(_text_rows, subject),
        calibration_sample="a built-in sample of English text and random ids",
        notes=tuple(notes),
    )


def _array_rows(subject: _FileSubject, path: Path | None) -> Sequence[Arrays]:
    """Return the rows of an .npz file, or made-up ones."""
    return subject.calibration() if path is None else read_calibration(path, subject.interface)


def _text_rows(subject: TextSubject, path: Path | None) -> Sequence[Arrays]:
    """Return the texts of a file, one per line, as rows, or those of the sample."""
    return subject.calibration(sample_texts() if path is None else read_texts(path))
