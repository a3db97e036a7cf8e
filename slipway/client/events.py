"""Server-sent events from the client's side: bytes as they come, the data of whole events out. Pure.

Source: WHATWG HTML, 9.2; servers of the generate extension send one line of data per event.
"""

from __future__ import annotations

from typing import Final

_DATA: Final = b"data:"
_LONGEST: Final = 64 << 20  # bytes of one line


class EventLines:
    """Cuts a stream into events."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes; raise ValueError for a line without an end."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > _LONGEST:
            raise ValueError(f"an event has more than {_LONGEST} bytes")
        return [found for line in lines if (found := event_data(line)) is not None]


def event_data(line: bytes) -> bytes | None:
    """Return the data in a line of a stream, None for any other line, such as a comment."""
    return line[len(_DATA) :].strip() if line.startswith(_DATA) else None
