"""Open the flow of encoders, graphs and module files."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from slipway.convert.candidates.flow import GraphFlow, open_graph
from slipway.convert.encoders.opening import open_source
from slipway.convert.options import ConvertOptions, Progress


def open_encoders(
    path: Path, origin: str, options: ConvertOptions, progress: Progress
) -> AbstractContextManager[GraphFlow]:
    """Return the flow of a source as a context; raise `SlipwayError` if it cannot be converted."""
    return open_graph(open_source, path, origin, options, progress)
