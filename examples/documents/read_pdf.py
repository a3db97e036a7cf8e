"""Read a PDF with the three models of a server: `read_pdf.py report.pdf OUT_DIRECTORY --url 127.0.0.1:8001`.

Every page is rendered at 300 dpi. The detector finds tables, charts and titles, the reader the texts, and the caption
classifier chooses the caption of each chart among the texts nearest to it. Writes `pages.json` and a picture of each
page with what was found. Needs nothing of the models: tritonclient, slipway.documents, and the classifier's tokenizer.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tritonclient.grpc as triton
from drawing import drawn_page
from rendering import rendered
from tokenizers import Tokenizer

from slipway.documents.canvas import HEIGHT, WIDTH, canvas_batches, canvas_of
from slipway.documents.captions import CaptionBlock, candidates, captions, request_rows
from slipway.documents.reading import ReadPage, output_texts, read_page

DPI = 300
LABELS = ("table", "chart", "title")
DETECTOR, READER, CLASSIFIER = "yolox-pages", "eclair", "deberta_large"
READER_BATCH = 4  # pages per request; the model's max_batch_size may be larger

PageBox = tuple[float, float, float, float]  # x1, y1, x2, y2 in parts of the page


@dataclass(frozen=True, slots=True)
class FoundText:
    """A text or a table's LaTeX, with its class and its box."""

    kind: str
    text: str
    box: PageBox


@dataclass(frozen=True, slots=True)
class FoundPage:
    """What the models found on a page: rows [x1, y1, x2, y2, score] by label, texts, and a caption for each chart."""

    elements: dict[str, list[list[float]]]
    texts: tuple[FoundText, ...]
    captions: tuple[str, ...]


class Models:
    """The three models on a server."""

    def __init__(self, client: triton.InferenceServerClient, tokenizer: Tokenizer) -> None:
        self._client = client
        self._tokenizer = tokenizer

    def elements(self, page: np.ndarray) -> dict[str, np.ndarray]:
        """Return the rows of a page by label."""
        answer = self._ask(DETECTOR, {"image": page[None]})
        return {label: answer.as_numpy(label)[0] for label in LABELS}

    def read(self, pages: Sequence[np.ndarray]) -> list[ReadPage]:
        """Return what is written on the pages."""
        canvases = [canvas_of(page) for page in pages]
        texts = []
        for batch in canvas_batches(canvases, READER_BATCH):
            texts += output_texts(self._ask(READER, {"image": batch}).as_numpy("text"), len(batch))
        return [read_page(text, canvas) for text, canvas in zip(texts, canvases, strict=True)]

    def captions(self, images: Sequence[PageBox], texts: Sequence[FoundText]) -> tuple[str, ...]:
        """Return the caption of each image, "" for none."""
        blocks = [CaptionBlock(each.text, each.box) for each in texts]
        found: list[str] = []
        for rows in request_rows([candidates(image, blocks) for image in images]):
            encodings = self._tokenizer.encode_batch(list(rows))
            ids = np.array([each.ids for each in encodings], np.int64)
            mask = np.array([each.attention_mask for each in encodings], np.float32)
            found += captions(rows, self._ask(CLASSIFIER, {"input_ids": ids, "input_mask": mask}).as_numpy("output"))
        return tuple(found)

    def _ask(self, model: str, arrays: dict[str, np.ndarray]) -> Any:
        inputs = []
        for name, array in arrays.items():
            inputs.append(triton.InferInput(name, list(array.shape), triton.np_to_triton_dtype(array.dtype)))
            inputs[-1].set_data_from_numpy(array)
        return self._client.infer(model, inputs)


def found_texts(page: ReadPage) -> tuple[FoundText, ...]:
    """Return the texts and tables of a page, with boxes in parts of the page instead of pixels of the canvas."""

    def of_page(box: tuple[int, int, int, int]) -> PageBox:
        x1, y1, x2, y2 = box
        return x1 / WIDTH, y1 / HEIGHT, x2 / WIDTH, y2 / HEIGHT

    return tuple(FoundText(each.kind, each.text, of_page(each.box)) for each in (*page.texts, *page.tables))


def read_pages(models: Models, pages: Sequence[np.ndarray]) -> list[FoundPage]:
    """Return what the models find on the pages."""
    found = []
    for page, read in zip(pages, models.read(pages), strict=True):
        for problem in read.problems:
            print(f"the reader's markup: {problem}")
        elements, texts = models.elements(page), found_texts(read)
        charts = [tuple(row[:4]) for row in elements["chart"].tolist()]
        plain = [each for each in texts if each.kind != "Table"]
        rows = {label: [[round(value, 4) for value in row] for row in elements[label].tolist()] for label in LABELS}
        found.append(FoundPage(rows, texts, models.captions(charts, plain)))
    return found


def main() -> None:
    """Read a PDF and write what was found."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pdf", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--url", default="127.0.0.1:8001", help="host:port of gRPC (default: 127.0.0.1:8001)")
    parser.add_argument("--tokenizer", type=Path, required=True, help="tokenizer.json of the caption classifier")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    pages = list(rendered(arguments.pdf, DPI))
    with triton.InferenceServerClient(arguments.url) as client:
        models = Models(client, Tokenizer.from_file(str(arguments.tokenizer)))
        found = read_pages(models, pages)
    for number, (page, each) in enumerate(zip(pages, found, strict=True), 1):
        drawn_page(page, each).save(arguments.out / f"page-{number}.png")
        counts = ", ".join(f"{len(rows)} {label}" for label, rows in each.elements.items())
        print(f"page {number}: {counts}, {len(each.texts)} texts, captions {list(each.captions)}")
    written = [
        {
            "elements": each.elements,
            "texts": [{"kind": text.kind, "text": text.text, "box": text.box} for text in each.texts],
            "captions": each.captions,
        }
        for each in found
    ]
    (arguments.out / "pages.json").write_text(json.dumps(written, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
