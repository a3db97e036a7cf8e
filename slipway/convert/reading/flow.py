"""The `Flow` (convert/flow.py) of models that read images.

The encoder is converted first, with candidates and a gate of its own. The candidates of this flow are the number types
of the decoder. The gate compares the ids that both generate together with those of transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from slipway.convert.arrays import MAX_BATCH_SIZE
from slipway.convert.configs import model_name
from slipway.convert.custom_code import check_custom_code
from slipway.convert.flow import Flow, GateVerdict, Made
from slipway.convert.generation.gate import Question, judge
from slipway.convert.generation.languages import SourceLanguages
from slipway.convert.generation.measure import NEW, generated_rate
from slipway.convert.generation.package import TextSide
from slipway.convert.generation.questions import questions_of
from slipway.convert.generation.reference import NAME, ReferenceGenerator
from slipway.convert.generation.report import COLUMNS, parameter_rows
from slipway.convert.generation.tokenizer import (
    build_tokenizer,
    check_text,
    cleans_up,
    load_reference,
    vocabulary_notes,
)
from slipway.convert.libraries import quiet_libraries, require_libraries
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.reading.encoder import ImageEncoder
from slipway.convert.reading.encoder_flow import EncoderOfImagesFlow, encoder_name, encoder_options, open_encoder
from slipway.convert.reading.markup import markup_of, never_text
from slipway.convert.reading.network import CLASS, load_reader
from slipway.convert.reading.normalisation import Normalisation
from slipway.convert.reading.package import ReaderPackage, all_names, reader_names
from slipway.convert.reading.pictures import made_pages
from slipway.convert.reading.source import ReadingSource, read_reading_source
from slipway.convert.reading.variants import EXACT, choose_decoder_variants, coarser
from slipway.convert.report import ACCEPTED, CHOSEN, ConversionReport, source_hash
from slipway.convert.runner import OpenModel, open_model
from slipway.convert.settings import refuse_quantised
from slipway.convert.thresholds import ACCURACY
from slipway.convert.token_columns import TokenSpeed
from slipway.convert.variants import Variant
from slipway.convert.vision.pictures import read_pictures
from slipway.convert.vision.processor_check import check_processor, open_reference_processor
from slipway.documents.canvas import canvas_of
from slipway.errors import invalid
from slipway.runtime.generation_model import STATES

_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "safetensors", "onnx", "PIL")
_BATCHES: Final = (1, 4)

# Converts a part of the source, with a directory to work in, and returns the directory of its models.
ConvertPart = Callable[[Flow, ConvertOptions, Path], Path]


@contextmanager
def open_reading(
    path: Path, origin: str, options: ConvertOptions, progress: Progress, convert_part: ConvertPart
) -> Iterator[ReadingFlow]:
    """Yield the flow of a checkpoint, with the libraries silenced; raise `SlipwayError` if it is unusable."""
    require_libraries(_LIBRARIES, "convert", "generate")
    if options.sample is not None or options.inputs:
        raise invalid("--sample and --input are for ONNX and torch files; --calibration takes a directory of pictures")
    source = read_reading_source(path, options.task)
    refuse_quantised(path)
    variants, skipped = choose_decoder_variants(options)
    notes = check_custom_code(path, "vision-encoder-decoder", CLASS)
    report = ConversionReport(
        columns=COLUMNS,
        source=origin,
        source_sha256=source_hash(path),
        task=source.text.task.value,
        reference=NAME,
        models=reader_names(source, options.name),
        lengths=options.lengths,
        calibration="not needed for the decoder, because int8 rounds weights row by row",
        reproduce=options.command,
        skipped=skipped,
        notes=[*source.text.notes, *notes],
        parameters=parameter_rows(source.text.defaults),
    )
    with quiet_libraries(verbose=options.verbose):
        yield ReadingFlow(source, options, variants, report, progress, convert_part)


class ReadingFlow:
    """Implements `flow.Flow`."""

    def __init__(
        self,
        source: ReadingSource,
        options: ConvertOptions,
        variants: Sequence[Variant],
        report: ConversionReport,
        progress: Progress,
        convert_part: ConvertPart,
    ) -> None:
        self.report = report
        self.variants = variants
        self.model = model_name(options.name)
        self.taken = all_names(options.name)
        self._source = source
        self._options = options
        self._rows = options.max_batch_size or MAX_BATCH_SIZE
        self._progress = progress
        self._convert_part = convert_part
        self._package: ReaderPackage  # set by prepare, like the next ones
        self._encoder: Path
        self._encoder_precision: str
        self._questions: Sequence[Question]

    def prepare(self, work: Path) -> None:
        """Run transformers, convert the encoder, and have it read the images of the gate."""
        self._progress("running the reference")
        network, unused = load_reader(self._source.directory)
        self.report.notes += unused
        encoder = self._open_encoder(network)
        expected = [encoder.states(image)[0] for image in encoder.images]
        reference = load_reference(self._source.text)
        questions = self._ask(network, reference, expected)
        self._package = self._read_text(reference, questions, encoder)
        for place, precision in enumerate(dict.fromkeys((self._options.precision, "fp32"))):
            states = self._convert_encoder(encoder, precision, work / f"encoder-{place}")
            given = {id(own): row for own, row in zip(expected, states, strict=True)}
            self._questions = [replace(question, ids=given[id(question.ids)]) for question in questions]
            refused = self._encoder_precision != "fp32" and self._refusal(work / f"trial-{place}" / self.model)
            if not refused:
                break
            self.report.notes.append(f"the encoder in {self._encoder_precision} was not good enough: {refused}")

    def _open_encoder(self, network: Any) -> ImageEncoder:
        """Return the encoder with the images of the gate as it takes them."""
        source = self._source
        made = self._images(made_pages(source.height, source.width))
        if source.reads_documents:
            return ImageEncoder(network, made, self._rows, Normalisation.of(source.images))
        check_processor(source.images, open_reference_processor(source.directory))
        return ImageEncoder(network, made, self._rows, None)

    def _images(self, pictures: Iterable[NDArray[np.uint8]]) -> list[NDArray[Any]]:
        """Return pictures UINT8 [height, width, 3] as the encoder takes them: pages on a canvas, or processed."""
        if self._source.reads_documents:
            return [canvas_of(picture).pixels for picture in pictures]
        from slipway.convert.models.image_processor import ImagePipeline

        pipeline = ImagePipeline(self._source.images.to_pipeline())
        return [pipeline.run([picture], masked=False)["pixel_values"][0] for picture in pictures]

    def _calibration(self, path: Path | None) -> list[NDArray[Any]]:
        """Return images to quantise the encoder with: the user's, or made pages that the gate does not compare."""
        source = self._source
        if path is None:
            return self._images(made_pages(source.height, source.width, seed=1))
        return self._images(read_pictures(path, source.height * source.width))

    def _ask(self, network: Any, tokenizer: Any, expected: Sequence[np.ndarray]) -> list[Question]:
        """Return the rows of the gate with the ids that transformers generates from its own states."""
        import torch

        if hasattr(network, "enc_to_dec_proj"):
            network.enc_to_dec_proj = torch.nn.Identity()  # the states are projected already
        return questions_of(self._source.text, ReferenceGenerator(self._source.text, tokenizer, network), expected)

    def _read_text(self, reference: Any, questions: Sequence[Question], encoder: ImageEncoder) -> ReaderPackage:
        """Copy the tokenizer, and check that the copy decodes the ids to the same text."""
        source = self._source.text
        tokenizer = build_tokenizer(source, reference)
        self.report.notes += vocabulary_notes(source, tokenizer)
        omitted = never_text(reference, source.checkpoint)
        markup = markup_of(tokenizer, omitted)
        if markup:
            shown = ", ".join(markup[:3])
            self.report.notes.append(f"{len(markup)} special tokens are markup and stay in the text, such as {shown}")
        kept = omitted if markup or self._source.reads_documents else ()
        for question in questions:
            check_text(tokenizer, reference, question.expected.ids, kept)
        text = TextSide(tokenizer, SourceLanguages(), cleans_up(reference))
        [states] = encoder.interface.outputs
        return ReaderPackage(self._options.name, self._source, text, states, rows=self._rows, omitted=kept)

    def _convert_encoder(self, encoder: ImageEncoder, precision: str, directory: Path) -> list[np.ndarray]:
        """Convert the encoder and return the states that it computes for each image of the gate."""
        options = replace(encoder_options(self._options), precision=precision)
        flow = open_encoder(encoder, self._calibration, self.report, options, self._progress)
        self._encoder = self._convert_part(flow, options, directory) / encoder_name(options.name)
        chosen = _chosen(flow)
        self._encoder_precision = chosen.precision
        self.report.notes.append(
            f"the encoder runs on {chosen.label}, by a conversion of its own: its report is in {self._encoder.name}"
        )
        name = encoder.interface.inputs[0].name
        with open_model(self._encoder) as model:
            return [model.run({name: image[None]})[STATES][0] for image in encoder.images]

    def _refusal(self, directory: Path) -> str:
        """Return why a decoder in FP32 does not generate well enough from the encoder's states, "" if it does."""
        self.make(EXACT, directory)
        with open_model(directory) as model:
            return "; ".join(self.judge(model, EXACT).problems)

    def make(self, variant: Variant, directory: Path) -> None:
        """Write the decoder with the Python model that runs it in the number type of the variant."""
        self._package.write_decoder(directory, variant)

    def judge(self, model: OpenModel, variant: Variant) -> GateVerdict:
        """Compare ids, for each image alone and in batches, by the criteria of the coarser of both models."""
        precision = coarser(variant.precision, self._encoder_precision)
        return judge(model.run_together, self._questions, precision, ACCURACY[self._options.accuracy])

    def measure(self, model: OpenModel) -> tuple[TokenSpeed, ...]:
        """Return the generated tokens per second for one image and for a batch."""
        states = self._questions[0].ids
        new = min(NEW, self._source.text.room(0))
        return tuple(
            TokenSpeed(batch, len(states), new, generated_rate(model, {STATES: np.stack([states] * batch)}, new))
            for batch in _BATCHES
            if batch <= self._rows
        )

    def package(self, winner: Made, new: Path) -> None:  # noqa: ARG002  its own config is already final
        """Write the models around the decoder, and the encoder."""
        self._encoder.rename(new / self._encoder.name)
        self._package.write_around(new)


def _chosen(flow: EncoderOfImagesFlow) -> Variant:
    return next(each.variant for each in flow.report.candidates if each.status in (CHOSEN, ACCEPTED))
