"""One conversion of a generating model: read, make candidates, hold each to transformers, measure, package the fastest.

The sibling of convert/conversion.py: the same order of work and the same report, but what is compared is token ids.
Nothing is written into the repository before all of it is done.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from slipway.convert.encoder import quiet_libraries
from slipway.convert.generation.gate import Question, judge
from slipway.convert.generation.measure import measure_tokens
from slipway.convert.generation.package import generation_names, write_engine_model, write_generation_models
from slipway.convert.generation.questions import ask_reference
from slipway.convert.generation.reference import NAME, Reference
from slipway.convert.generation.report import GenerationCandidate, GenerationReport
from slipway.convert.generation.source import GenerationSource, read_generation_source
from slipway.convert.generation.tokenizer import build_tokenizer, check_text, check_tokenizer, load_reference
from slipway.convert.generation.variants import COMPUTE_TYPES, GenerationVariant, choose_generation_variants
from slipway.convert.options import ConvertOptions
from slipway.convert.package import VERSION, model_name
from slipway.convert.report import ACCEPTED, CHOSEN, PASSED, directory_bytes, source_hash
from slipway.convert.runner import open_model
from slipway.convert.staging import staged
from slipway.convert.variants import AUTO, Skipped
from slipway.errors import SlipwayError, invalid
from slipway.installation import install_hint

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Progress = Callable[[str], None]
# What --precision calls the number types.
_PRECISIONS: Final = {"fp32": "float32", "bf16": "bfloat16", "int8": "int8"}


@dataclass(frozen=True, slots=True)
class _Made:
    variant: GenerationVariant
    candidate: GenerationCandidate
    directory: Path


def convert_generation(
    path: Path, origin: str, options: ConvertOptions, texts: Sequence[str], progress: Progress
) -> tuple[tuple[str, ...], GenerationReport]:
    """Convert the checkpoint in `path`; return the models' names and the report.

    Raise `SlipwayError` with a one-line cause, and nothing written, when the source is unusable, a model of one of
    the names exists and `overwrite` is false, or no candidate passes the gate.
    """
    started = time.monotonic()
    _require_libraries()
    source = read_generation_source(path, options.task)
    variants, skipped = choose_generation_variants(options.engine, _compute_type(options), source)
    if options.accept and len(variants) > 1:
        raise invalid("--accept overrides the gate for one candidate: name --engine and --compute-type")
    names = generation_names(options.name)
    report = GenerationReport(
        source=origin,
        source_sha256=source_hash(path),
        task=source.task.value,
        reference=NAME,
        models=names,
        lengths=options.lengths,
        calibration="none is needed: int8 rounds weights row by row",
        reproduce=options.command,
        skipped=list(skipped),
        notes=list(source.notes),
    )
    if options.dry_run:
        report.candidates = [_candidate(variant, "to be tried") for variant in variants]
        return names, report
    with quiet_libraries(), staged(options.repository, names, overwrite=options.overwrite) as (new, work):
        tokenizers = load_reference(source)
        tokenizer = build_tokenizer(source, tokenizers)
        check_tokenizer(source, tokenizer, tokenizers, texts)
        progress("asking the reference")
        questions = ask_reference(source, tokenizer, Reference(source), texts)
        for question in questions:
            check_text(tokenizer, tokenizers, question.expected.ids)
        run = _Run(source, options, report, progress, work)
        winner = run.choose(run.try_all(variants, questions))
        report.seconds = time.monotonic() - started
        run.write(winner, new, tokenizer)
    return names, report


def _require_libraries() -> None:
    missing = [name for name in ("torch", "transformers", "tokenizers", "safetensors") if find_spec(name) is None]
    if missing:
        raise invalid(f"conversion needs {', '.join(missing)}: {install_hint('convert', 'generate')}")


def _compute_type(options: ConvertOptions) -> str:
    if options.precision == AUTO:
        return options.compute_type
    named = _PRECISIONS.get(options.precision)
    if named is None or options.compute_type not in (AUTO, named):
        raise invalid(
            f"--precision {options.precision} is not for a model that generates text: use --compute-type, one of "
            f"{', '.join(COMPUTE_TYPES)}"
        )
    return named


def _candidate(variant: GenerationVariant, status: str) -> GenerationCandidate:
    return GenerationCandidate(variant.label, variant.engine, variant.compute_type, status=status)


class _Run:
    """The candidates of one conversion, in a directory of their own."""

    def __init__(
        self,
        source: GenerationSource,
        options: ConvertOptions,
        report: GenerationReport,
        progress: Progress,
        work: Path,
    ) -> None:
        self._source = source
        self._options = options
        self._report = report
        self._progress = progress
        self._work = work

    def try_all(self, variants: Sequence[GenerationVariant], questions: Sequence[Question]) -> list[_Made]:
        """Make, verify and measure every variant; one that cannot be made is reported and costs nothing else."""
        return [made for variant in variants if (made := self._try(variant, questions)) is not None]

    def _try(self, variant: GenerationVariant, questions: Sequence[Question]) -> _Made | None:
        begin = time.monotonic()
        directory = self._work / variant.slug / model_name(self._options.name)
        self._progress(f"making {variant.label}")
        try:
            write_engine_model(directory, self._options.name, self._source, variant)
            model = open_model(directory)
        except SlipwayError as error:
            self._report.skipped.append(Skipped(variant.label, error.message))
            return None
        candidate = _candidate(variant, "refused")
        self._report.candidates.append(candidate)
        with model:
            self._progress(f"verifying {variant.label}")
            candidate.agreement, candidate.problems = judge(model.run_together, questions, variant.compute_type)
            if not candidate.problems or self._options.accept:
                candidate.status = ACCEPTED if candidate.problems else PASSED
                self._progress(f"measuring {variant.label}")
                candidate.tokens = measure_tokens(model, self._source)
        candidate.bytes = directory_bytes(directory / VERSION)
        candidate.seconds = time.monotonic() - begin
        return _Made(variant, candidate, directory)

    def choose(self, made: Sequence[_Made]) -> _Made:
        """Return the fastest candidate that passed; raise `SlipwayError` saying by how much the others failed."""
        passed = [each for each in made if each.candidate.status in (PASSED, ACCEPTED)]
        if not passed:
            raise invalid(self._refusal())
        winner = max(passed, key=lambda each: each.candidate.tokens_per_second)
        report, candidate = self._report, winner.candidate
        report.chosen = candidate.label
        if candidate.status == ACCEPTED:
            report.why = f"it was accepted by --accept although {'; '.join(candidate.problems)}"
            return winner
        candidate.status = CHOSEN
        report.why = f"the fastest of {len(passed)} that passed the gate, in generated tokens a second on this machine"
        if len(passed) == 1:
            alone = len(made) > 1
            report.why = "the only one that passed the gate" if alone else "it was asked for and passed the gate"
        return winner

    def _refusal(self) -> str:
        refused = [f"{each.label}: {'; '.join(each.problems)}" for each in self._report.candidates if each.problems]
        refused += [f"{each.label}: {each.reason}" for each in self._report.skipped]
        return f"no candidate passed the gate, nothing was written: {' | '.join(refused)}"

    def write(self, winner: _Made, new: Path, tokenizer: Tokenizer) -> None:
        """Write every model of the winner, and the report beside the engine."""
        self._progress("writing")
        self._report.write(winner.directory)
        shutil.move(winner.directory, new / winner.directory.name)
        write_generation_models(new, self._options.name, self._source, winner.variant, tokenizer)
