"""The `Flow` (convert/flow.py) of page-element detectors: that of a model file, with pages and two criteria more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays, Run
from slipway.convert.encoders.flow import EncoderFlow, open_encoders
from slipway.convert.encoders.gate import Expectation
from slipway.convert.encoders.opening import OpenedSource, open_file
from slipway.convert.encoders.sampling import read_calibration
from slipway.convert.encoders.subject import Program
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.page_elements.contract import INPUT, OUTPUT, Detector, detector_of, is_decoded
from slipway.convert.page_elements.gate import element_problems
from slipway.convert.page_elements.package import page_model_names, write_page_models
from slipway.convert.page_elements.port_names import can_rename
from slipway.convert.page_elements.samples import sample_pages
from slipway.convert.page_elements.subject import DetectorSubject, ProgramDetectorSubject
from slipway.documents.letterbox import SIDE, page_batch
from slipway.documents.pages import open_page
from slipway.errors import SlipwayError, invalid

_TORCHSCRIPT: Final = f"{INPUT}:FP32:-1,3,{SIDE},{SIDE}"  # it does not list its inputs
_MOST_CALIBRATION: Final = 100  # pages of a directory; more only take time
_UNDECODED: Final = (
    "the output leaves out the decoding of the grid: NAME-elements adds it, and clients of the model itself have to "
    "(slipway.documents.detection.decoded_grid)"
)
_ONE_PAGE: Final = "the export takes exactly one page; export it with a variable batch axis to send several per request"


@contextmanager
def open_page_elements(path: Path, origin: str, options: ConvertOptions, progress: Progress) -> Iterator[EncoderFlow]:
    """Yield the flow of a detector; raise `SlipwayError` if the file is not one."""
    options = replace(options, lengths=(SIDE,))
    with open_encoders(path, origin, options, progress, opening=_open_detector) as flow:
        yield flow


class OpenedDetector(OpenedSource):
    """An opened detector, which is calibrated with pages."""

    def calibration(self, path: Path | None) -> str:
        """Return a description of the calibration data for the report."""
        return f"the pages of {path}" if path else "made-up pages (no --calibration given)"

    def calibration_rows(self, path: Path | None) -> Sequence[Arrays]:
        """Return the pages to quantise with: of a directory of images, of an .npz file, or made-up ones."""
        if path is None:
            return self.subject.calibration(())
        if not path.is_dir():
            return read_calibration(path, self.subject.interface)
        (name,) = (spec.name for spec in self.subject.interface.inputs)
        return [{name: page_batch([each]).pixels} for each in _pages_of(path)]


def _open_detector(path: Path, options: ConvertOptions) -> OpenedSource:
    if not path.is_file():
        raise invalid(f"'{path}' is not a file: a page-element detector is an .onnx, .pt, .pth, .ts or .pt2 file")
    if path.suffix != ".onnx" and not options.inputs and options.sample is None:
        options = replace(options, inputs=(_TORCHSCRIPT,))
    opened = open_file(path, options)
    source = opened.subject
    detector = detector_of(source.interface, options.labels, path.name)
    page = sample_pages(1)
    answer = source.reference({detector.takes: page})[detector.returns]
    detector = replace(detector, decoded=is_decoded(answer.reshape(-1, *answer.shape[-2:]), path.name))
    names = _contract_names(path, detector)
    takes, returns = (names.get(name, name) for name in (detector.takes, detector.returns))
    served = replace(detector, takes=takes, returns=returns)
    sampled = options.sample is not None
    if isinstance(source, Program):
        subject: DetectorSubject = ProgramDetectorSubject(source, source, served, sampled=sampled)
    else:
        subject = DetectorSubject(source, served, names, sampled=sampled)

    def also_judge(run: Run, expected: Sequence[Expectation], precision: str) -> tuple[str, ...]:
        return tuple(element_problems(run, expected, precision, served))

    return OpenedDetector(
        subject=subject,
        model=options.name,
        models=page_model_names(options.name),
        taken=page_model_names(options.name),
        task="page-elements",
        labels=(),
        write_around=lambda directory: write_page_models(directory, options.name, served),
        takes_text=False,
        notes=tuple(_notes(detector, served, options.name)),
        also_judge=also_judge,
    )


def _contract_names(path: Path, detector: Detector) -> dict[str, str]:
    """Return the new names of the file's tensors, which only ONNX files can get."""
    names = {detector.takes: INPUT, detector.returns: OUTPUT}
    changed = {old: new for old, new in names.items() if old != new}
    return changed if changed and path.suffix == ".onnx" and can_rename(path, changed) else {}


def _notes(detector: Detector, served: Detector, name: str) -> Iterator[str]:
    if (detector.takes, detector.returns) != (served.takes, served.returns):
        yield (
            f"its tensors '{detector.takes}' and '{detector.returns}' are served as '{served.takes}' and "
            f"'{served.returns}', the names that clients of page-element models use"
        )
    elif (served.takes, served.returns) != (INPUT, OUTPUT):
        yield f"clients of page-element models expect tensors named '{INPUT}' and '{OUTPUT}': {name}-pages maps them"
    if not served.decoded:
        yield _UNDECODED.replace("NAME", name)
    if not served.batched:
        yield _ONE_PAGE


def _pages_of(directory: Path) -> Iterator[np.ndarray]:
    files = [each for each in sorted(directory.iterdir()) if each.is_file()][:_MOST_CALIBRATION]
    if not files:
        raise invalid(f"calibration directory '{directory}' contains no images")
    for file in files:
        try:
            yield open_page(file.read_bytes())
        except SlipwayError as error:
            raise invalid(f"calibration image '{file}': {error.message}") from None
