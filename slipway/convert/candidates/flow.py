"""The `Flow` (convert/flow.py) of models that are one graph.

All candidates except pytorch start from one exported ONNX graph. They are compared row by row and timed in rows per
second. The scheduling of the winner depends on the measured gain from batches and instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

from slipway.convert.candidates.batching import plan_batching
from slipway.convert.candidates.build import BuildInputs, Built, build
from slipway.convert.candidates.config import model_config, write_labels
from slipway.convert.candidates.gate import Expectation, expectations, judge, no_results
from slipway.convert.candidates.measure import RowSpeed, measure
from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.candidates.report import COLUMNS
from slipway.convert.candidates.subject import Interface, Program
from slipway.convert.candidates.variants import PROGRAM, choose_variants
from slipway.convert.configs import VERSION, write_config
from slipway.convert.flow import GateVerdict, Made
from slipway.convert.libraries import quiet_libraries, require_libraries
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.plan import Plan
from slipway.convert.report import ConversionReport, source_hash
from slipway.convert.runner import OpenModel, open_model
from slipway.convert.variants import Variant
from slipway.errors import SlipwayError, invalid

_LIBRARIES: Final = ("torch", "transformers", "onnx", "safetensors")
_ONE_INSTANCE: Final = Plan(1, 0)

Opener = Callable[[Path, ConvertOptions], OpenedSource]


def _notes(interface: Interface, *, is_sampled: bool) -> Iterator[str]:
    """Yield what the user needs to know about how the model was compared and written."""
    if interface.unbatched:
        yield f"it is written without batching (max_batch_size: 0): {interface.unbatched}"
    for name in interface.unknown_ranges:
        datatype = next(spec.datatype for spec in interface.inputs if spec.name == name)
        yield (
            f"the range of input '{name}' ({datatype}) is unknown, so it was compared only on 0 and 1: declare it with "
            f"--input {name}:{datatype}:DIMS:LIMIT, where all values are below LIMIT, or give typical values with "
            f"--sample FILE.npz"
        )
    if interface.sizes and not is_sampled:
        sizes = ", ".join(map(str, interface.sizes))
        yield f"it does not accept every size, so it was compared and measured with {sizes} in its variable dims"


@contextmanager
def open_graph(
    open_source: Opener, path: Path, origin: str, options: ConvertOptions, progress: Progress
) -> Iterator[GraphFlow]:
    """Yield the flow of the source that `open_source` opens, with the libraries silenced; raise `SlipwayError` if it
    cannot be converted."""
    variants, skipped = choose_variants(options)
    require_libraries(_LIBRARIES, "convert")
    with quiet_libraries(verbose=options.verbose):
        progress(f"reading {origin}")
        source = open_source(path, options)
        kind = PROGRAM if isinstance(source.subject, Program) else source.task
        variants, skipped = choose_variants(options, kind=kind)
        report = ConversionReport(
            columns=COLUMNS,
            source=origin,
            source_sha256=source_hash(path),
            task=source.task,
            reference=source.subject.reference_name,
            models=source.models,
            lengths=options.lengths,
            calibration=source.calibration(options.calibration),
            reproduce=options.command,
            skipped=skipped,
            notes=[*source.notes, *_notes(source.subject.interface, is_sampled=options.sample is not None)],
        )
        yield GraphFlow(source, options, variants, report, progress)


class GraphFlow:
    """Implements `flow.Flow`."""

    def __init__(
        self,
        source: OpenedSource,
        options: ConvertOptions,
        variants: Sequence[Variant],
        report: ConversionReport,
        progress: Progress,
    ) -> None:
        self.report = report
        self.variants = variants
        self.model = source.model
        self.taken = source.taken
        self._source = source
        self._subject = source.subject
        self._options = options
        self._progress = progress
        self._expected: Sequence[Expectation]  # set by prepare, like the next one
        self._inputs: BuildInputs
        self._built: dict[Variant, Built] = {}

    def prepare(self, work: Path) -> None:
        """Run the reference, read the calibration data, export the graph."""
        self._progress("running the reference")
        self._expected = expectations(self._subject)
        matching = self._subject.interface.matching
        if matching is not None and no_results(self._expected, matching):
            self.report.notes.append(
                "the model is confident of no object in the pictures that it was compared on, so reduced precision was "
                "judged by the direction of its outputs alone: check it on pictures of your own"
            )
        self._progress("exporting")
        graph = work / "graph" / "model.onnx"
        graph.parent.mkdir()
        problem = self._export(graph)
        quantises = any(variant.precision == "int8" for variant in self.variants)
        given = self._options.calibration
        calibration = self._source.calibrate(given) if given or quantises else []
        self._inputs = BuildInputs(self._subject, graph, calibration, problem)

    def _export(self, graph: Path) -> str:
        """Write the graph that engines start from; return why there is none, if some engine can do without."""
        is_program = isinstance(self._subject, Program)
        needless = ("pytorch", "openvino") if is_program else ("pytorch",)
        if all(variant.engine in needless for variant in self.variants):
            return ""
        try:
            self._subject.export_onnx(graph)
        except SlipwayError as error:
            if not is_program:
                raise
            return error.message
        return ""

    def make(self, variant: Variant, directory: Path) -> None:
        """Build the files and the config of one variant."""
        self._check_ranges(variant)
        (directory / VERSION).mkdir(parents=True)
        self._built[variant] = build(self._inputs, variant, directory / VERSION)
        self._configure(variant, directory, _ONE_INSTANCE)

    def _check_ranges(self, variant: Variant) -> None:
        """Refuse to quantise an input of unknown range: calibrated and compared on 0 and 1, anything passes."""
        unknown = self._subject.interface.unknown_ranges
        if variant.precision == "int8" and unknown:
            raise invalid(
                f"the range of input '{unknown[0]}' is unknown; declare it with "
                f"--input {unknown[0]}:TYPE:DIMS:LIMIT, where all values are below LIMIT, or give typical values with "
                f"--sample FILE.npz"
            )

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        """Compare every row, both in its batch and alone."""
        accuracy = self._options.accuracy
        verdict = judge(model.run, self._expected, variant.precision, self._subject.interface, accuracy)
        if not verdict.passed or self._source.also_judge is None:
            return verdict
        return replace(verdict, problems=self._source.also_judge(model.run, self._expected, variant.precision))

    def measure(self, model: OpenModel) -> tuple[RowSpeed, ...]:
        """Return the rows per second at the requested lengths."""
        return measure(model, self._subject, self._options.lengths)

    def package(self, winner: Made, new: Path) -> None:
        """Plan the scheduling of the winner and write the models around it."""
        variant, directory = winner.variant, winner.directory

        def reopen(instances: int) -> OpenModel:
            self._configure(variant, directory, Plan(instances, 0))
            return open_model(directory)

        self._progress("measuring batches")
        plan = plan_batching(reopen, self._subject, self._options.lengths)
        self._configure(variant, directory, plan)
        self.report.batching = plan
        if self._built[variant].file:
            self.report.notes.append("torch.export files are served only by Slipway: NVIDIA Triton does not read them")
        self._source.write_around(new)

    def _configure(self, variant: Variant, directory: Path, plan: Plan) -> None:
        labels = self._source.labels
        config = model_config(self.model, self._subject.interface, self._built[variant], plan, labels)
        write_config(directory, config)
        if any(output.label_filename for output in config.output):
            write_labels(directory, labels)
