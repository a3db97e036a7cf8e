"""Compare what was read with what is on the pages: `judge.py report.json found/pages.json`; exit code 1 if it differs.

The expected boxes are those of a detector that is never wrong, after the same rules: a table reaches up for its title,
a chart takes in its title and grows.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from layouts import CAPTION, CHART, HEIGHT, PARAGRAPH, TABLE, TITLE, WIDTH

from slipway.documents.boxes import overlaps
from slipway.documents.detection import LABELS, page_elements

SIDE = 1024
# Overlap with the expected box. A narrow detector measures the length of a title only roughly.
LEAST = {"table": 0.8, "chart": 0.8, "title": 0.4}


def expected_elements(page: list[dict]) -> dict[str, np.ndarray]:
    """Return the elements of a page, as a perfect detector's."""
    scale = SIDE / max(WIDTH, HEIGHT)
    rows = np.zeros((1, len(page), 8), np.float32)
    for row, each in zip(rows[0], page, strict=True):
        if each["kind"] in LABELS:
            x1, y1, x2, y2 = np.array(each["box"]) * (WIDTH, HEIGHT, WIDTH, HEIGHT) * scale
            row[:5] = ((x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 1)
            row[5 + LABELS.index(each["kind"])] = 1
    (elements,) = page_elements(rows, [(round(HEIGHT * scale), round(WIDTH * scale))])
    return dict(elements)


def problems_of(known: list[dict], found: dict) -> list[str]:
    """Return what is wrong with a page."""
    problems = []
    for label, rows in expected_elements(known).items():
        boxes = np.array(found["elements"][label]).reshape(-1, 5)
        if len(boxes) != len(rows):
            problems.append(f"{len(boxes)} of label {label} found, expected {len(rows)}")
        for row in rows:
            best = overlaps(boxes[:, :4], row[:4]).max(initial=0)
            print(f"  {label} {np.round(row[:4], 2).tolist()}: overlap {best:.2f}")
            if best < LEAST[label]:
                problems.append(f"a {label} overlaps with what was found by {best:.2f}, required {LEAST[label]}")
    texts = [each["text"] for each in known if each["kind"] in (TITLE, PARAGRAPH, CAPTION, TABLE)]
    read = [each["text"] for each in found["texts"]]
    problems += [f"the text '{text}' was not read" for text in texts if text not in read]
    captions = [each["text"] for each in known if each["kind"] == CAPTION]
    if len([each for each in known if each["kind"] == CHART]) == 1 and found["captions"] != captions:
        problems.append(f"captions {found['captions']}, expected {captions}")
    return problems


def main() -> int:
    """Judge all pages."""
    known, found = (json.loads(Path(path).read_text(encoding="utf-8")) for path in sys.argv[1:3])
    wrong = 0
    for number, (page, each) in enumerate(zip(known, found, strict=True), 1):
        print(f"page {number}:")
        for problem in problems_of(page, each):
            print(f"  WRONG: {problem}")
            wrong += 1
    print(f"judged: {len(known)} pages, {wrong} problems")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
