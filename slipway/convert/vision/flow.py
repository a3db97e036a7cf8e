"""Open the flow of networks that see images."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from slipway.convert.candidates.flow import GraphFlow, open_graph
from slipway.convert.options import ConvertOptions, Progress
from slipway.convert.vision.opening import open_vision_source


def open_vision(
    path: Path, origin: str, options: ConvertOptions, progress: Progress
) -> AbstractContextManager[GraphFlow]:
    """Return the flow of a directory as a context; raise `SlipwayError` if it cannot be converted."""
    return open_graph(open_vision_source, path, origin, options, progress)
