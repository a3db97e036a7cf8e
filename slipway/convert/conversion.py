"""One conversion: open the source, build candidates, verify each, measure those that pass, package the fastest.

Contains only the order of the steps. Everything specific to a family of models is behind `Flow` (flow.py), and each
step has its own module. The repository is not changed until all work is done.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

from slipway.convert.configs import VERSION
from slipway.convert.directory import Task
from slipway.convert.encoders.flow import open_encoders
from slipway.convert.encoders.opening import open_file
from slipway.convert.flow import Flow, Made
from slipway.convert.generation.flow import open_generation
from slipway.convert.generation.plain_source import PlainSource, plain_source
from slipway.convert.generation.source import generates
from slipway.convert.hub import locate
from slipway.convert.options import ConvertOptions
from slipway.convert.page_elements.flow import open_page_elements
from slipway.convert.reading.flow import open_reading
from slipway.convert.reading.source import reads_images
from slipway.convert.report import (
    ACCEPTED,
    CHOSEN,
    COMPARED,
    PASSED,
    REFUSED,
    Candidate,
    ConversionReport,
    directory_bytes,
    mean_rate,
)
from slipway.convert.runner import OpenModel, open_model
from slipway.convert.staging import Stager, staged
from slipway.convert.steps import COPIES, MEASURES_BATCHES, ConversionStep, Show, Stage, Steps
from slipway.convert.tensor2tensor.flow import find_translation, open_translation
from slipway.convert.variants import PRECISIONS, Skipped, Variant
from slipway.convert.vision.flow import open_vision
from slipway.convert.vision.source import is_vision
from slipway.errors import SlipwayError, invalid

_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_NEAR: Final = 0.6  # share of the fastest rate; a briefly busy machine slows a candidate by less


@dataclass(frozen=True, slots=True)
class Converted:
    """The result of a conversion: model names and report; `written` is false after a dry run; `reported` is the model
    whose directory contains the report."""

    models: tuple[str, ...]
    report: ConversionReport
    written: bool
    reported: str


def convert(
    source: str | Path,
    options: ConvertOptions,
    show: Show = lambda _: None,
    *,
    origin: str = "",
    stage: Stager = staged,
) -> Converted:
    """Convert `source` into models of `options.repository`; `show` is called with what begins. `origin` is the display
    name of a source that was fetched before; `stage` provides the directories to write to.

    Raise `SlipwayError` with a one-line cause if the source is unusable, if one of the models already exists and
    `overwrite` is false, or if no candidate passes the gate. Nothing is written in that case.
    """
    started = time.monotonic()
    if not _NAME.fullmatch(options.name):
        raise invalid(f"'{options.name}' is not a model name: use letters, digits, '_', '-' and '.'")
    translation = find_translation(source)
    if translation is not None:
        steps = Steps(show, finish=COPIES)
        with open_translation(translation, str(translation), options, steps) as flow:
            return Conversion(flow, options, steps, stage).run(started)
    path, origin = (Path(source), origin) if origin else locate(source, Steps(show), verbose=options.verbose)
    with plain_source(path, options.base, Steps(show)) as plain:
        return _convert_plain(plain, origin, options, show, stage, started)


def _convert_plain(
    plain: PlainSource, origin: str, options: ConvertOptions, show: Show, stage: Stager, started: float
) -> Converted:
    """Choose the flow of the family and run it."""
    path = plain.path
    detects = options.task is Task.PAGE_ELEMENTS
    if options.labels and not detects:
        raise invalid(f"--labels applies only to --task {Task.PAGE_ELEMENTS.value}")
    reading = reads_images(path) and not detects
    if options.max_batch_size is not None and not reading:
        raise invalid("--max-batch-size applies only to models that read images")
    embeds = (path / "modules.json").is_file()  # even if the checkpoint alone could generate text
    generating = generates(path) and not embeds and not detects
    if options.source_language and not generating:
        raise invalid("--source-language applies only to translation models, but this model does not translate text")
    steps = Steps(show, finish=COPIES if generating or reading else MEASURES_BATCHES)
    open_flow: Callable[[Path, str, ConvertOptions, Steps], AbstractContextManager[Flow]]
    if detects:
        open_flow = partial(open_page_elements, open_file)
    elif reading:
        open_flow = partial(open_reading, convert_part=partial(_convert_part, steps))
    elif generating:
        open_flow = open_generation
    else:
        open_flow = open_vision if is_vision(path) else open_encoders
    with open_flow(path, origin, options, steps) as flow:
        flow.report.notes += plain.notes
        flow.report.source_sha256 = plain.sha256 or flow.report.source_sha256
        return Conversion(flow, options, steps, stage).run(started)


def _convert_part(steps: Steps, flow: Flow, options: ConvertOptions, directory: Path) -> Path:
    """Convert a part of another source and return the directory of its models, inside `directory`; its steps are shown
    as work of the whole's current step."""
    new, work = directory / "new", directory / "work"
    new.mkdir(parents=True)
    work.mkdir()

    def show(step: ConversionStep) -> None:
        steps.work_on(step.candidate)
        steps(f"{flow.model}, {step}")

    @contextmanager
    def in_place(
        repository: Path,  # noqa: ARG001
        names: Sequence[str],  # noqa: ARG001
        *,
        overwrite: bool,  # noqa: ARG001
    ) -> Iterator[tuple[Path, Path]]:
        yield new, work

    Conversion(flow, options, Steps(show, finish=COPIES), in_place).run(time.monotonic())
    shutil.rmtree(work)
    steps.work_on("")
    return new


class Conversion:
    """Turns one opened source into verified models in the repository."""

    def __init__(self, flow: Flow, options: ConvertOptions, steps: Steps | None = None, stage: Stager = staged) -> None:
        self._flow = flow
        self._report = flow.report
        self._options = options
        self._steps = steps or Steps(lambda _: None)
        self._stage = stage
        self._passed_over = len(self._report.skipped)  # before any candidate was tried

    def run(self, started: float) -> Converted:
        """Run all steps; the reported duration counts from `started`, a value of `time.monotonic()`."""
        report, options = self._report, self._options
        if options.dry_run:
            report.candidates = [Candidate(each, "to be tried") for each in self._flow.variants if each.competes]
            return Converted(report.models, report, written=False, reported=self._flow.model)
        report.isolation = options.isolation
        with self._stage(options.repository, self._flow.taken, overwrite=options.overwrite) as (new, work):
            self._steps.expect(len(self._flow.variants))
            self._steps.begin(Stage.PREPARE)
            self._flow.prepare(work)
            winner = self._choose(self._try_all(work))
            self._finish(winner, new, started)
        return Converted(report.models, report, written=True, reported=self._flow.model)

    def _try_all(self, work: Path) -> list[Made]:
        """Build, verify and measure every variant; one that cannot be built is reported and skipped."""
        made = [each for variant in self._flow.variants if (each := self._try(variant, work)) is not None]
        self._steps.work_on("")
        return made

    def _try(self, variant: Variant, work: Path) -> Made | None:
        begin = time.monotonic()
        self._steps.begin(Stage.CANDIDATE)
        if variant.label in self._options.lost:
            self._report.skipped.append(Skipped(variant.label, self._options.lost[variant.label]))
            return None
        self._steps.work_on(variant.label)
        directory = work / variant.slug / self._flow.model
        self._steps(f"building {variant.label}")
        try:
            self._flow.make(variant, directory)
            model = open_model(directory)
        except SlipwayError as error:
            self._report.skipped.append(Skipped(variant.label, error.message))
            return None
        made = Made(Candidate(variant), directory)
        self._report.candidates.append(made.candidate)
        with model:
            made.candidate.status = self._verify(made, model)
            if made.candidate.status in (PASSED, ACCEPTED, COMPARED):
                self._steps(f"measuring {variant.label}")
                made.candidate.speeds = self._flow.measure(model)
                made.candidate.passes = (made.candidate.rate,)
        made.candidate.bytes = directory_bytes(directory / VERSION)
        made.candidate.seconds = time.monotonic() - begin
        return made

    def _verify(self, made: Made, model: OpenModel) -> str:
        """Compare a candidate with the reference and return its status."""
        candidate, variant = made.candidate, made.variant
        self._steps(f"verifying {variant.label}")
        verdict = self._flow.judge(model, variant)
        candidate.figures, candidate.problems, candidate.criteria = verdict.figures, verdict.problems, verdict.criteria
        if verdict.passed:
            return PASSED if variant.competes else COMPARED
        return ACCEPTED if self._options.accept and variant.competes else REFUSED

    def _choose(self, made: Sequence[Made]) -> Made:
        """Return the fastest candidate that passed, or the most precise of several equally fast ones; if none passed,
        raise `SlipwayError` with all problems."""
        passed = [each for each in made if each.candidate.status == PASSED]
        passed = passed or [each for each in made if each.candidate.status == ACCEPTED]
        if not passed:
            raise invalid(self._refusal())
        self._measure_again(passed)
        fastest = max(passed, key=lambda each: each.candidate.rate)
        winner = min(_as_fast(passed, fastest), key=_exactness)
        candidate = winner.candidate
        self._report.chosen = candidate.label
        if candidate.status == ACCEPTED:
            self._report.why = f"--accept overrode the gate, although {'; '.join(candidate.problems)}"
            return winner
        candidate.status = CHOSEN
        self._report.why = self._why(candidate, passed=len(passed), made=len(made))
        if winner is not fastest:
            self._report.why = _too_noisy(candidate, fastest.candidate)
        return winner

    def _why(self, candidate: Candidate, *, passed: int, made: int) -> str:
        if passed > 1:
            return f"the fastest of {passed} that passed the gate, {self._report.columns.measured(candidate)}"
        return "the only one that passed the gate" if made > 1 else "it was requested and passed the gate"

    def _measure_again(self, passed: Sequence[Made]) -> None:
        """Measure the fastest candidates again and keep the better figure: another process may have slowed one run."""
        best = max(each.candidate.rate for each in passed)
        finalists = [each for each in passed if each.candidate.rate > _NEAR * best]
        if len(finalists) < 2:
            return
        self._steps.begin(Stage.AGAIN)
        for each in finalists:
            self._steps.work_on(each.candidate.label)
            self._steps(f"measuring {each.candidate.label} again")
            with open_model(each.directory) as model:
                again = self._flow.measure(model)
            each.candidate.passes += (mean_rate(again),)
            pairs = zip(each.candidate.speeds, again, strict=True)
            each.candidate.speeds = tuple(max(pair, key=lambda speed: speed.rate) for pair in pairs)

    def _refusal(self) -> str:
        refused = [f"{each.label}: {'; '.join(each.problems)}" for each in self._report.candidates if each.problems]
        refused += [f"{each.label}: {each.reason}" for each in self._report.skipped[self._passed_over :]]
        return f"no candidate passed the gate; nothing was written: {' | '.join(refused)}"

    def _finish(self, winner: Made, new: Path, started: float) -> None:
        """Write every model; verify the winner again if its final config differs from the one that was verified."""
        self._steps.begin(Stage.FINISH)
        self._steps.work_on(winner.candidate.label)
        config = winner.directory / "config.pbtxt"
        verified = config.read_bytes()
        self._flow.package(winner, new)
        if config.read_bytes() != verified:
            self._verify_again(winner)
        self._steps("writing")
        self._report.seconds = time.monotonic() - started
        self._report.write(winner.directory)
        shutil.move(winner.directory, new / self._flow.model)
        names = sorted(path.name for path in new.iterdir())
        if names != sorted(self._report.models):
            raise AssertionError(f"wrote {names}, announced {sorted(self._report.models)}")

    def _verify_again(self, winner: Made) -> None:
        """Compare the winner with the reference again, now with its final instances and length rounding."""
        self._steps("verifying the final configuration")
        with open_model(winner.directory) as model:
            verdict = self._flow.judge(model, winner.variant)
        if not verdict.passed and winner.candidate.status != ACCEPTED:
            raise invalid(f"with its final configuration, {'; '.join(verdict.problems)}; nothing was written")


def _as_fast(passed: Sequence[Made], fastest: Made) -> list[Made]:
    """Return the fastest, and each candidate whose best pass reaches the worst pass of the fastest: their measured
    speeds cannot be told apart."""
    floor = min(fastest.candidate.passes, default=0.0)
    return [each for each in passed if each is fastest or max(each.candidate.passes, default=0.0) >= floor > 0]


def _exactness(made: Made) -> tuple[int, float]:
    """Order candidates by precision, most precise first, then by speed."""
    precision = made.variant.precision
    place = PRECISIONS.index(precision) if precision in PRECISIONS else len(PRECISIONS)
    return place, -made.candidate.rate


def _too_noisy(chosen: Candidate, fastest: Candidate) -> str:
    gain = fastest.rate / chosen.rate - 1
    spread = max(fastest.passes) / min(fastest.passes) - 1
    return (
        f"{fastest.label} was measured {gain:.0%} faster, but its own measurements differ by {spread:.0%}: too noisy "
        f"to tell, and {chosen.variant.precision} is more precise"
    )
