"""Pages of a PDF to pixels, UINT8 [height, width, 3] of RGB, by PDFium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pypdfium2

POINTS_PER_INCH = 72


def rendered(path: Path, dpi: float) -> Iterator[np.ndarray]:
    """Yield the pages of a file, one at a time."""
    document = pypdfium2.PdfDocument(path)
    try:
        for number in range(len(document)):
            bitmap = document[number].render(scale=dpi / POINTS_PER_INCH, rev_byteorder=True)
            yield np.ascontiguousarray(bitmap.to_numpy()[:, :, :3])
    finally:
        document.close()
