"""The `Flow` (convert/flow.py) of page-element detectors: that of a model file, with pages and two criteria more."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from slipway.convert.arrays import Arrays, Run
from slipway.convert.candidates.flow import GraphFlow, Opener, open_graph
from slipway.convert.candidates.gate import Expectation
from slipway.convert.candidates.opened import OpenedSource
from slipway.convert.candidates.subject import Program, Subject
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.page_elements.contract import INPUT, OUTPUT, PageDetector, check_output, detector_of, is_decoded
from slipway.convert.page_elements.gate import element_problems
from slipway.convert.page_elements.package import page_model_names, write_page_models
from slipway.convert.page_elements.port_names import can_rename
from slipway.convert.page_elements.samples import sample_pages
from slipway.convert.page_elements.subject import DetectorSubject, ProgramDetectorSubject, renamed
from slipway.documents.letterbox import SIDE, page_batch
from slipway.documents.pages import open_page
from slipway.errors import SlipwayError, invalid

_TORCHSCRIPT: Final = f"{INPUT}:FP32:-1,3,{SIDE},{SIDE}"  # it does not list its inputs
_CALIBRATION: Final = 24  # made-up pages, others than the gate's
_CALIBRATION_SEED: Final = 1
_MOST_CALIBRATION: Final = 100  # pages of a directory; more only take time
_UNDECODED: Final = (
    "the output leaves out the decoding of the grid: NAME-elements adds it, and clients of the model itself have to "
    "(slipway.documents.detection.decoded_grid)"
)
_ONE_PAGE: Final = "the export takes exactly one page; export it with a variable batch axis to send several per request"


def open_page_elements(
    open_file: Opener, path: Path, origin: str, options: ConvertOptions, progress: Progress
) -> AbstractContextManager[GraphFlow]:
    """Return the flow of a detector, whose file `open_file` opens, as a context; raise `SlipwayError` if it is not a
    detector."""
    return open_graph(partial(_open_detector, open_file), path, origin, options, progress)


def _open_detector(open_file: Opener, path: Path, options: ConvertOptions) -> OpenedSource:
    if not path.is_file():
        raise invalid(f"'{path}' is not a file: a page-element detector is an .onnx, .pt, .pth, .ts or .pt2 file")
    if path.suffix != ".onnx" and not options.inputs and options.sample is None:
        options = replace(options, inputs=(_TORCHSCRIPT,))
    opened = open_file(path, options)
    source = opened.subject
    detector = _detector(source, options, path.name)
    names = _contract_names(path, detector)
    takes, returns = (names.get(name, name) for name in (detector.takes, detector.returns))
    served = replace(detector, takes=takes, returns=returns)
    sampled = options.sample is not None
    if isinstance(source, Program):
        subject: DetectorSubject = ProgramDetectorSubject(source, source, served, sampled=sampled)
    else:
        subject = DetectorSubject(source, served, names, sampled=sampled)

    def calibrate(given: Path | None) -> Sequence[Arrays]:
        if given is not None and given.is_dir():
            return [{takes: page_batch([each]).pixels} for each in _pages_of(given)]
        if given is None and not sampled:
            pages = sample_pages(_CALIBRATION, _CALIBRATION_SEED)
            return [{takes: pages[page : page + 1]} for page in range(_CALIBRATION)]
        return [renamed(each, names) for each in opened.calibrate(given)]

    def also_judge(run: Run, expected: Sequence[Expectation], precision: str) -> tuple[str, ...]:
        return tuple(element_problems(run, expected, precision, served))

    return OpenedSource(
        subject=subject,
        model=options.name,
        models=page_model_names(options.name),
        taken=page_model_names(options.name),
        task=Task.PAGE_ELEMENTS.value,
        labels=(),
        write_around=lambda directory: write_page_models(directory, options.name, served),
        calibrate=calibrate,
        calibration_sample=opened.calibration_sample if sampled else "made-up pages",
        notes=tuple(_notes(detector, served, options.name)),
        also_judge=also_judge,
    )


def _detector(source: Subject, options: ConvertOptions, name: str) -> PageDetector:
    """Return the detector in a file; one page shows whether its output is decoded."""
    detector = detector_of(source.interface, options.labels, name)
    output = source.reference({detector.takes: sample_pages(1)})[detector.returns]
    check_output(output, detector, name)
    return replace(detector, decoded=is_decoded(output, name))


def _contract_names(path: Path, detector: PageDetector) -> dict[str, str]:
    """Return the new names of the file's tensors, which only ONNX files can get."""
    names = {detector.takes: INPUT, detector.returns: OUTPUT}
    changed = {old: new for old, new in names.items() if old != new}
    return changed if changed and path.suffix == ".onnx" and can_rename(path, changed) else {}


def _notes(detector: PageDetector, served: PageDetector, name: str) -> Iterator[str]:
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
