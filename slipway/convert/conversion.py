"""One conversion: read the source, make candidates, verify each, measure those that pass, package the fastest.

The order of work and nothing else; each step is a module of its own. Nothing is written into the repository before
all of it is done.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from slipway.convert.batching import Plan, plan_batching
from slipway.convert.build import Built, Workshop, build
from slipway.convert.gate import Expectation, expectations, judge, thresholds
from slipway.convert.generation.conversion import convert_generation
from slipway.convert.generation.source import generates
from slipway.convert.material import Material, locate, open_material, sample_texts
from slipway.convert.measure import measure
from slipway.convert.options import ConvertOptions
from slipway.convert.package import VERSION, model_config, write_config, write_labels
from slipway.convert.report import ACCEPTED, CHOSEN, COMPARED, PASSED, REFUSED, Candidate, Report, directory_bytes
from slipway.convert.runner import OpenModel, open_model
from slipway.convert.staging import staged
from slipway.convert.subject import Subject
from slipway.convert.variants import AUTO, UNOPTIMISED, Skipped, Variant, choose_variants
from slipway.errors import SlipwayError, invalid
from slipway.installation import install_hint

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_ONE_INSTANCE: Final = Plan(1, 0)
_NEAR: Final = 0.6  # of the fastest: one busy moment of the machine costs less

Progress = Callable[[str], None]  # told what is done next


@dataclass(frozen=True, slots=True)
class Conversion:
    """What a conversion made: the models' names and the report; nothing was written when `written` is false."""

    models: tuple[str, ...]
    report: Report
    written: bool


def convert(source: str | Path, options: ConvertOptions, progress: Progress = lambda _: None) -> Conversion:
    """Convert `source` into models of `options.repository`.

    Raise `SlipwayError` with a one-line cause, and nothing written, when the source is unusable, when a model of one
    of the names exists and `overwrite` is false, or when no candidate passes the gate.
    """
    started = time.monotonic()
    if not _NAME.fullmatch(options.name):
        raise invalid(f"'{options.name}' is not a model name: use letters, digits, '_', '-' and '.'")
    path, origin = locate(source, progress)
    if generates(path):
        models, told = convert_generation(path, origin, options, sample_texts(), progress)
        return Conversion(models, told, written=not options.dry_run)
    if options.compute_type != AUTO:
        raise invalid("--compute-type is for models that generate text; others have --precision")
    variants, skipped = choose_variants(options.engine, options.precision)
    if options.accept and len(variants) > 1 and AUTO in (options.engine, options.precision):
        raise invalid("--accept overrides the gate for one engine and precision: name both")
    _require_libraries()
    with open_material(path, origin, options, progress) as material:
        report = material.start_report(options, skipped)
        if options.dry_run:
            report.candidates = [_candidate(variant, "to be tried") for variant in variants]
            return Conversion(material.models, report, written=False)
        with staged(options.repository, material.taken, overwrite=options.overwrite) as (new, work):
            run = _Run(material, options, report, progress, work)
            expected = run.expect()
            winner = run.choose(run.try_all([*variants, *_comparisons(options, variants)], expected))
            run.finish(winner, expected, new, started)
    return Conversion(material.models, report, written=True)


def _require_libraries() -> None:
    missing = [name for name in ("torch", "transformers", "onnx", "safetensors") if find_spec(name) is None]
    if missing:
        raise invalid(f"conversion needs {', '.join(missing)}: {install_hint('convert')}")


def _comparisons(options: ConvertOptions, variants: Sequence[Variant]) -> list[Variant]:
    """Return what is measured only to be compared with: the exported graph as it is, no fusions."""
    plain = Variant("onnxruntime", "fp32", UNOPTIMISED)
    return [plain] if options.compare and any(variant.engine == "onnxruntime" for variant in variants) else []


def _check_ranges(variant: Variant, subject: Subject) -> None:
    """Refuse to quantise what nobody knows the values of: calibrated and compared on 0 and 1, anything passes."""
    unknown = subject.interface.unknown_ranges
    if variant.precision == "int8" and unknown:
        raise invalid(
            f"the values of input '{unknown[0]}' are not known; tell the first that is too large with "
            f"--input {unknown[0]}:TYPE:DIMS:LIMIT"
        )


def _candidate(variant: Variant, status: str = REFUSED) -> Candidate:
    return Candidate(variant.label, variant.engine, variant.precision, variant.method, status)


@dataclass(frozen=True, slots=True)
class _Made:
    """A variant whose files are ready, with what the report says of it."""

    candidate: Candidate
    directory: Path
    built: Built


class _Run:
    """The candidates of one conversion, in a directory of their own."""

    def __init__(
        self, material: Material, options: ConvertOptions, report: Report, progress: Progress, work: Path
    ) -> None:
        self._material = material
        self._subject: Subject = material.subject
        self._options = options
        self._report = report
        self._progress = progress
        self._work = work

    def expect(self) -> list[Expectation]:
        """Ask the reference for everything that candidates are compared with."""
        self._progress("asking the reference")
        return expectations(self._subject)

    def try_all(self, variants: Sequence[Variant], expected: Sequence[Expectation]) -> list[_Made]:
        """Make, verify and measure every variant; one that cannot be made is reported and costs nothing else."""
        self._progress("exporting")
        graph = self._work / "graph" / "model.onnx"
        graph.parent.mkdir()
        calibration = self._material.calibration_rows(self._options.calibration)
        if any(variant.engine != "pytorch" for variant in variants):
            self._subject.export_onnx(graph)
        workshop = Workshop(self._subject, graph, calibration)
        return [made for variant in variants if (made := self._try(workshop, variant, expected)) is not None]

    def _try(self, workshop: Workshop, variant: Variant, expected: Sequence[Expectation]) -> _Made | None:
        begin = time.monotonic()
        directory = self._work / variant.slug / self._material.model
        (directory / VERSION).mkdir(parents=True)
        try:
            self._progress(f"making {variant.label}")
            _check_ranges(variant, self._subject)
            built = build(workshop, variant, directory / VERSION)
            self._configure(directory, built, _ONE_INSTANCE)
            model = open_model(directory)
        except SlipwayError as error:
            self._report.skipped.append(Skipped(variant.label, error.message))
            return None
        candidate = _candidate(variant)
        self._report.candidates.append(candidate)
        with model:
            self._verify(model, candidate, expected)
        candidate.bytes = directory_bytes(directory / VERSION)
        candidate.seconds = time.monotonic() - begin
        if variant.method == UNOPTIMISED and candidate.status == PASSED:
            candidate.status = COMPARED
        return _Made(candidate, directory, built)

    def _verify(self, model: OpenModel, candidate: Candidate, expected: Sequence[Expectation]) -> None:
        interface = self._subject.interface
        self._progress(f"verifying {candidate.label}")
        verdict = judge(model.run, expected, candidate.precision, interface)
        candidate.criteria = thresholds(candidate.precision, interface)
        candidate.figures = verdict.figures
        candidate.problems = verdict.problems
        if verdict.passed:
            candidate.status = PASSED
        elif self._options.accept and candidate.method != UNOPTIMISED:
            candidate.status = ACCEPTED
        else:
            return
        self._progress(f"measuring {candidate.label}")
        candidate.speeds = measure(model, self._subject, self._options.lengths)

    def choose(self, made: Sequence[_Made]) -> _Made:
        """Return the fastest candidate that passed; raise `SlipwayError` saying by how much the others failed."""
        passed = [each for each in made if each.candidate.status == PASSED]
        passed = passed or [each for each in made if each.candidate.status == ACCEPTED]
        if not passed:
            raise invalid(self._refusal())
        self._measure_again(passed)
        winner = max(passed, key=lambda each: each.candidate.rows_per_second)
        report, candidate = self._report, winner.candidate
        lengths = " and ".join(str(speed.length) for speed in candidate.speeds)
        if candidate.status == PASSED:
            candidate.status = CHOSEN
            report.why = f"the fastest of {len(passed)} that passed the gate, at {lengths} tokens on this machine"
        else:
            report.why = f"it was accepted by --accept although {'; '.join(candidate.problems)}"
        if len(passed) == 1 and candidate.status == CHOSEN:
            report.why = (
                "the only one that passed the gate" if len(made) > 1 else "it was asked for and passed the gate"
            )
        report.chosen = candidate.label
        return winner

    def _measure_again(self, passed: Sequence[_Made]) -> None:
        """Give those near the front a second run, and keep the better: another process may have taken the first."""
        best = max(each.candidate.rows_per_second for each in passed)
        finalists = [each for each in passed if each.candidate.rows_per_second > _NEAR * best]
        for each in finalists if len(finalists) > 1 else ():
            self._progress(f"measuring {each.candidate.label} again")
            with open_model(each.directory) as model:
                again = measure(model, self._subject, self._options.lengths)
            pairs = zip(each.candidate.speeds, again, strict=True)
            each.candidate.speeds = tuple(min(pair, key=lambda speed: speed.latency_ms) for pair in pairs)

    def _refusal(self) -> str:
        refused = [f"{each.label}: {'; '.join(each.problems)}" for each in self._report.candidates if each.problems]
        refused += [f"{each.label}: {each.reason}" for each in self._report.skipped]
        return f"no candidate passed the gate, nothing was written: {' | '.join(refused)}"

    def finish(self, winner: _Made, expected: Sequence[Expectation], new: Path, started: float) -> None:
        """Plan the scheduling of the winner and write every model."""
        self._progress("measuring batches")
        plan = plan_batching(lambda count: self._reopen(winner, count), self._subject, self._options.lengths)
        self._configure(winner.directory, winner.built, plan)
        self._progress("verifying what will be served")
        self._verify_again(winner, expected)
        self._report.batching = plan
        self._report.seconds = time.monotonic() - started
        self._report.write(winner.directory)
        self._progress("writing")
        target = new / self._material.model
        shutil.move(winner.directory, target)
        self._material.write_around(new)
        names = sorted(path.name for path in new.iterdir())
        if names != sorted(self._material.models):
            raise AssertionError(f"wrote {names}, announced {sorted(self._material.models)}")

    def _verify_again(self, winner: _Made, expected: Sequence[Expectation]) -> None:
        """Hold the model to the reference once more with its final config: instances, padding to a step."""
        with open_model(winner.directory) as model:
            verdict = judge(model.run, expected, winner.candidate.precision, self._subject.interface)
        if not verdict.passed and winner.candidate.status != ACCEPTED:
            raise invalid(f"with its final configuration {'; '.join(verdict.problems)}; nothing was written")

    def _reopen(self, winner: _Made, instances: int) -> OpenModel:
        self._configure(winner.directory, winner.built, Plan(instances, 0))
        return open_model(winner.directory)

    def _configure(self, directory: Path, built: Built, plan: Plan) -> None:
        labels = self._material.labels
        config = model_config(self._material.model, self._subject.interface, built, plan, labels)
        write_config(directory, config)
        if any(output.label_filename for output in config.output):
            write_labels(directory, labels)
