"""A detector as the subject of a conversion: its file's subject, with pages in place of random values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from slipway.convert.arrays import Arrays
from slipway.convert.candidates.subject import Case, Program, Subject
from slipway.convert.page_elements.contract import PageDetector
from slipway.convert.page_elements.port_names import rename_ports
from slipway.convert.page_elements.samples import sample_pages
from slipway.core.signature import TensorSpec
from slipway.documents.letterbox import MOST_PAGES, SIDE

_ALONE: Final = 4  # pages of the gate, besides the batches


class DetectorSubject:
    """Implements `candidates.subject.Subject` on that of a file.

    `names` maps the file's tensors to those of the detector, if they differ; with `sampled`, the file's subject has
    inputs of its own, from the user."""

    def __init__(
        self, source: Subject, detector: PageDetector, names: Mapping[str, str] | None = None, *, sampled: bool = False
    ) -> None:
        self.reference_name = source.reference_name
        self._source = source
        self._detector = detector
        self._names = dict(names or {})
        self._file_names = {new: old for old, new in self._names.items()}
        self._sampled = sampled
        self.interface = replace(
            source.interface,
            inputs=(TensorSpec(detector.takes, "FP32", detector.input),),
            outputs=(TensorSpec(detector.returns, "FP32", detector.output),),
            max_batch_size=MOST_PAGES if detector.batched else 0,
            measured=(SIDE,),
            unit="pixels",
            sampled="pages",
        )

    def cases(self) -> Sequence[Case]:
        """Return pages alone, in a batch of two and in one of the maximum size."""
        if self._sampled:
            return [self._renamed_case(case) for case in self._source.cases() if self._fits(case)]
        pages = sample_pages(MOST_PAGES)
        cases = [self._case(f"page {number}", pages[number : number + 1]) for number in range(_ALONE)]
        if self._detector.batched:
            cases += [self._case(f"{count} pages", pages[-count:]) for count in (2, MOST_PAGES)]
        return cases

    def reference(self, alone: Arrays) -> Arrays:
        """Run the source itself on one page."""
        return renamed(self._source.reference(renamed(alone, self._file_names)), self._names)

    def sample(self, length: int, rows: int) -> Arrays:
        """Return pages, all of the same size."""
        if self._sampled:
            return renamed(self._source.sample(length, rows), self._names)
        return {self._detector.takes: sample_pages(rows)}

    def export_onnx(self, path: Path) -> None:
        """Write the source as an ONNX file with the names of the detector."""
        self._source.export_onnx(path)
        if self._names:
            rename_ports(path, self._names)

    def export_torch(self, path: Path, precision: str) -> None:
        """Write the source as TorchScript."""
        self._source.export_torch(path, precision)

    def _case(self, name: str, pages: Any) -> Case:
        alone = tuple({self._detector.takes: pages[page : page + 1]} for page in range(len(pages)))
        return Case(name, {self._detector.takes: pages}, alone)

    def _fits(self, case: Case) -> bool:
        return not self._detector.batched or len(case.alone) <= MOST_PAGES

    def _renamed_case(self, case: Case) -> Case:
        alone = tuple(renamed(each, self._names) for each in case.alone)
        return Case(case.name, renamed(case.batch, self._names), alone)


class ProgramDetectorSubject(DetectorSubject):
    """The same for a torch.export file. Implements `candidates.subject.Program`, too."""

    def __init__(self, source: Subject, program: Program, detector: PageDetector, *, sampled: bool = False) -> None:
        super().__init__(source, detector, sampled=sampled)
        self._program = program

    def openvino_model(self) -> Any:
        """Return the program, converted by OpenVINO."""
        return self._program.openvino_model()

    def copy_program(self, directory: Path) -> str:
        """Write the file that torch serves and return its name."""
        return self._program.copy_program(directory)


def renamed(arrays: Arrays, names: Mapping[str, str]) -> Arrays:
    """Return arrays under the new names of `names`, the others under their own."""
    return {names.get(name, name): array for name, array in arrays.items()}
