"""The `Flow` (convert/flow.py) of models that generate text.

The candidates are the engines and number types of `transformer/`, each with a copy of the same checkpoint. The gate
compares token ids; speed is measured in generated tokens.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from slipway.convert.configs import model_name
from slipway.convert.flow import GateVerdict, Made
from slipway.convert.generation.chat import copied_templates, tool_notes
from slipway.convert.generation.gate import Question, judge, judge_texts
from slipway.convert.generation.languages import choose_language
from slipway.convert.generation.measure import measure_tokens
from slipway.convert.generation.package import (
    TextSide,
    generation_names,
    write_engine_model,
    write_generation_models,
)
from slipway.convert.generation.questions import ask_reference
from slipway.convert.generation.reference import NAME, ReferenceGenerator
from slipway.convert.generation.report import COLUMNS, parameter_rows
from slipway.convert.generation.scoring import scored_rows, served_losses
from slipway.convert.generation.source import GenerationSource, read_generation_source
from slipway.convert.generation.tokenizer import (
    build_tokenizer,
    check_text,
    check_tokenizer,
    cleans_up,
    decoding_notes,
    load_reference,
    vocabulary_notes,
)
from slipway.convert.generation.variants import choose_generation_variants
from slipway.convert.libraries import quiet_libraries, require_libraries
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.perplexity import ScoredTexts
from slipway.convert.report import ConversionReport, source_hash
from slipway.convert.runner import OpenModel
from slipway.convert.sample import read_texts, sample_texts
from slipway.convert.thresholds import ACCURACY
from slipway.convert.token_columns import TokenSpeed
from slipway.convert.variants import Variant

_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "safetensors")


@contextmanager
def open_generation(path: Path, origin: str, options: ConvertOptions, progress: Progress) -> Iterator[GenerationFlow]:
    """Yield the flow of a checkpoint, with the libraries silenced; raise `SlipwayError` if it is unusable."""
    require_libraries(_LIBRARIES, "convert", "generate")
    source = read_generation_source(path, options.task)
    variants, skipped = choose_generation_variants(options, source)
    report = ConversionReport(
        columns=COLUMNS,
        source=origin,
        source_sha256=source_hash(path),
        task=source.task.value,
        reference=NAME,
        models=generation_names(options.name),
        lengths=options.lengths,
        calibration="not needed, because int8 rounds weights row by row",
        reproduce=options.command,
        skipped=skipped,
        notes=list(source.notes),
        parameters=parameter_rows(source.defaults),
    )
    with quiet_libraries(verbose=options.verbose):
        yield GenerationFlow(source, options, variants, report, progress)


class GenerationFlow:
    """Implements `flow.Flow`."""

    def __init__(
        self,
        source: GenerationSource,
        options: ConvertOptions,
        variants: Sequence[Variant],
        report: ConversionReport,
        progress: Progress,
    ) -> None:
        self.report = report
        self.variants = variants
        self.model = model_name(options.name)
        self.taken = report.models
        self._source = source
        self._name = options.name
        self._language = options.source_language
        self._asked = ACCURACY[options.accuracy]
        self._own_texts = options.calibration
        self._progress = progress
        self._text: TextSide  # set by prepare, like the next two
        self._questions: Sequence[Question]
        self._scored: ScoredTexts

    def prepare(self, work: Path) -> None:  # noqa: ARG002  needs no files
        """Copy the tokenizer, generate with transformers, and check that the copy decodes the ids to the same text."""
        reference = load_reference(self._source)
        texts = sample_texts() if self._own_texts is None else read_texts(self._own_texts)
        languages = choose_language(reference, self._language)
        tokenizer = build_tokenizer(self._source, reference)
        check_tokenizer(self._source, tokenizer, reference, texts)
        chat, notes = copied_templates(reference)
        self.report.notes += [*notes, *tool_notes(chat)]
        self._text = TextSide(tokenizer, languages, cleans_up(reference), chat)
        self.report.notes += vocabulary_notes(self._source, tokenizer) + decoding_notes(reference)
        if languages.names:
            self.report.notes.append(
                f"the source language is '{languages.usual}' unless a request sets source_language"
            )
        self._progress("running the reference")
        generator = ReferenceGenerator(self._source, reference)
        self._questions = ask_reference(self._source, tokenizer, generator, texts)
        rows = scored_rows(self._source, tokenizer, texts)
        self._scored = ScoredTexts(rows, generator.losses(rows))
        for question in self._questions:
            check_text(tokenizer, reference, question.expected.ids)

    def make(self, variant: Variant, directory: Path) -> None:
        """Write the checkpoint with the Python model that runs it on the engine of the variant."""
        write_engine_model(directory, self._name, self._source, variant, self._text)

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        """Compare ids, for each row alone and in batches, and what real text costs a model that continues text."""
        texts = bool(self._scored.rows)
        verdict = judge(model.run_together, self._questions, variant.precision, self._asked, only_choices=texts)
        if not texts:
            return verdict
        score = partial(served_losses, model.directory)
        return judge_texts(verdict, score, self._scored, variant.precision, self._asked)

    def measure(self, model: OpenModel) -> tuple[TokenSpeed, ...]:
        """Return the generated tokens per second for one row and for a batch."""
        return measure_tokens(model, self._source)

    def package(self, winner: Made, new: Path) -> None:
        """Write the models around the engine, whose own config is already final."""
        write_generation_models(new, self._name, self._source, winner.variant, self._text)
