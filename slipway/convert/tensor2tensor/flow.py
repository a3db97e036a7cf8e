"""The `Flow` (convert/flow.py) of models of tensor2tensor: exports, and output directories of training.

The candidates are the engines and number types of `transformer/` that decode exactly as tensor2tensor does. The gate
compares token ids; speed is measured in generated tokens, with the model's own search.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.export import (
    DECODING,
    TrainedModel,
    find_export,
    is_trained,
    read_trained,
    write_export,
)
from slipway.convert.directory import Task, choose_task
from slipway.convert.flow import GateVerdict, Made
from slipway.convert.libraries import quiet_libraries, require_libraries
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.report import ConversionReport, source_hash
from slipway.convert.runner import OpenModel
from slipway.convert.tensor2tensor.gate import TranslationQuestion, judge
from slipway.convert.tensor2tensor.network import PlainTransformer
from slipway.convert.tensor2tensor.package import set_version, write_model
from slipway.convert.tensor2tensor.questions import ask_reference, measure
from slipway.convert.tensor2tensor.reference import NAME, ReferenceTranslator
from slipway.convert.tensor2tensor.variants import choose_variants
from slipway.convert.thresholds import ACCURACY
from slipway.convert.token_columns import TokenSpeed, token_columns
from slipway.convert.variants import Variant
from slipway.errors import invalid
from slipway.runtime.tensor2tensor_model import ARGUMENTS
from slipway.runtime.translation import Translation

_COLUMNS: Final = token_columns("the reference", "beams")
_TASKS: Final = (Task.TRANSLATION, Task.TEXT_TO_TEXT)


def find_translation(source: str | Path) -> Path | None:
    """Return the directory of the model of tensor2tensor that a path means, None if it means something else."""
    path = Path(source)
    if path.is_file() or (path / "config.json").exists():
        return None
    return path if is_trained(path) else find_export(path)


@contextmanager
def open_translation(path: Path, origin: str, options: ConvertOptions, progress: Progress) -> Iterator[TranslationFlow]:
    """Yield the flow of a model, with the libraries silenced; raise `SlipwayError` if it is unusable."""
    require_libraries(("torch",), "convert", "generate")
    if options.source_language:
        raise invalid("--source-language does not apply: a model of tensor2tensor translates from one language")
    model = read_trained(path)
    task = choose_task(options.task, _TASKS, "tensor2tensor's transformer")
    variants, skipped = choose_variants(options, Translation(model.checkpoint.spec, model.vocabulary, model.settings))
    report = ConversionReport(
        columns=_COLUMNS,
        source=origin,
        source_sha256=source_hash(path),
        task=task.value,
        reference=NAME,
        models=(options.name,),
        lengths=options.lengths,
        calibration="not needed, because int8 rounds weights row by row",
        reproduce=options.command,
        skipped=skipped,
        notes=list(_notes(model, path)),
        parameters=[(name, kind, str(getattr(model.settings, name))) for name, kind in ARGUMENTS.items()],
    )
    with quiet_libraries(verbose=options.verbose):
        yield TranslationFlow(model, options, variants, report, progress)


class TranslationFlow:
    """Implements `flow.Flow`."""

    def __init__(
        self,
        model: TrainedModel,
        options: ConvertOptions,
        variants: Sequence[Variant],
        report: ConversionReport,
        progress: Progress,
    ) -> None:
        self.report = report
        self.variants = variants
        self.model = options.name
        self.taken = report.models
        self._trained = model
        self._compilation = options.compilation
        self._least = ACCURACY[options.accuracy].tokens
        self._progress = progress
        self._export: Path  # set by prepare, like the next one
        self._questions: Sequence[TranslationQuestion]

    def prepare(self, work: Path) -> None:
        """Write the export that all candidates share, and generate with the reference."""
        self._export = work / "export"
        write_export(self._export, self._trained)
        self._progress("running the reference")
        checkpoint = self._trained.checkpoint
        reference = ReferenceTranslator(PlainTransformer(checkpoint.spec, checkpoint.weights))
        self._questions = ask_reference(self._trained, reference)

    def make(self, variant: Variant, directory: Path) -> None:
        """Write the export with the Python model that runs it on the engine of the variant."""
        write_model(directory, self.model, self._export, variant, self._compilation)

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        """Compare ids, for each row alone and in batches."""
        deadline = self._compilation.first_batch_s
        return judge(model.run_together, self._questions, variant.precision, self._least, first_batch_s=deadline)

    def measure(self, model: OpenModel) -> tuple[TokenSpeed, ...]:
        """Return the generated tokens per second for one row and for a batch."""
        return measure(model, self._trained)

    def package(self, winner: Made, new: Path) -> None:  # noqa: ARG002  there is only the one model
        """Give the winner's version its number."""
        if self._compilation.version != 1:
            set_version(winner.directory, self._compilation.version)


def _notes(model: TrainedModel, path: Path) -> Iterator[str]:
    settings = model.settings
    beams = f"{settings.beam_size} beams and alpha {settings.alpha:g}" if settings.beam_size > 1 else "greedy search"
    yield (
        f"decoding: {beams}, up to {settings.extra_length} tokens more than the input has; a request may set "
        f"{', '.join(ARGUMENTS)}"
    )
    if not (path / DECODING).is_file():
        yield f"there is no {DECODING}: the decoding settings are tensor2tensor's defaults"
    if model.hparams.ignored:
        yield f"hyper-parameters that were ignored: {', '.join(model.hparams.ignored)}"
