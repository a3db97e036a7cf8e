"""The conversion of the vision encoder: its own candidates, gate and report, as any graph's.

Only its scheduling is known in advance. One image keeps every core busy and takes hundreds of megabytes while it is
computed, so a batch is computed image by image, and batches are not measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from numpy.typing import NDArray

from slipway.config.rows_at_once import ROWS_AT_ONCE
from slipway.convert.candidates.config import model_config
from slipway.convert.candidates.flow import GraphFlow
from slipway.convert.candidates.measure import RowSpeed
from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.candidates.report import COLUMNS
from slipway.convert.candidates.variants import ENGINES, choose_variants
from slipway.convert.configs import write_config
from slipway.convert.flow import Made
from slipway.convert.measure import seconds_per_run
from slipway.convert.options import AUTO, ConvertOptions, Progress
from slipway.convert.plan import Plan
from slipway.convert.reading.encoder import ImageEncoder
from slipway.convert.report import ConversionReport
from slipway.convert.runner import OpenModel
from slipway.convert.variants import Variant

Calibrate = Callable[[Path | None], Sequence[NDArray[Any]]]

_SECONDS: Final = 1.5  # at most, unless a few runs take longer
_FEWEST: Final = 3
_PLAN: Final = Plan(1, 0, why="one image keeps every core busy: a batch is computed image by image")


def encoder_name(name: str) -> str:
    """Return the name of the model that computes the encoder states for `name`."""
    return f"{name}-encoder"


def encoder_options(options: ConvertOptions) -> ConvertOptions:
    """Return the options for the encoder: an engine that only runs decoders leaves the choice open."""
    return options if options.engine in ENGINES else replace(options, engine=AUTO)


def open_encoder(
    encoder: ImageEncoder, calibrate: Calibrate, report: ConversionReport, options: ConvertOptions, progress: Progress
) -> EncoderOfImagesFlow:
    """Return the flow of the encoder of a conversion whose own report is `report`; `calibrate` returns images to
    quantise with, of the user's directory or made up, as the encoder takes them."""
    model = encoder_name(options.name)
    variants, skipped = choose_variants(options, kind="images")
    source = OpenedSource(
        subject=encoder,
        model=model,
        models=(model,),
        taken=(model,),
        task="encoder of images",
        labels=(),
        write_around=lambda _: None,
        calibrate=lambda path: encoder.rows(calibrate(path)),
        calibration_sample="made pages of text and pictures",
    )
    own = ConversionReport(
        columns=COLUMNS,
        source=report.source,
        source_sha256=report.source_sha256,
        task=source.task,
        reference=encoder.reference_name,
        models=source.models,
        lengths=encoder.interface.measured,
        calibration=source.calibration(options.calibration),
        reproduce=options.command,
        skipped=skipped,
    )
    return EncoderOfImagesFlow(source, options, variants, own, progress)


class EncoderOfImagesFlow(GraphFlow):
    """Implements `flow.Flow` for the encoder alone."""

    def measure(self, model: OpenModel) -> tuple[RowSpeed, ...]:
        """Return the images per second, one at a time."""
        seconds = seconds_per_run(model, self._subject.sample(0, 1), _SECONDS, _FEWEST)
        tokens = self._subject.interface.measured[0]
        return (RowSpeed(tokens, seconds * 1e3, 1 / seconds, 1, 1 / seconds, self._subject.interface.unit),)

    def package(self, winner: Made, new: Path) -> None:  # noqa: ARG002  nothing is written around it
        """Keep the config, which is already final."""
        self.report.batching = _PLAN
        if self._built[winner.variant].file:
            self.report.notes.append("torch.export files are served only by Slipway: NVIDIA Triton does not read them")

    def _configure(self, variant: Variant, directory: Path, plan: Plan) -> None:  # noqa: ARG002
        config = model_config(self.model, self._subject.interface, self._built[variant], _PLAN)
        config.parameters[ROWS_AT_ONCE].string_value = "1"
        write_config(directory, config)
