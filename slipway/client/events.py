"""Server-sent events from the client's side: bytes as they come, the data of whole events out. Pure.

Source: WHATWG HTML, 9.2; servers of the generate extension send one line of data per event.
"""

from __future__ import annotations

from typing import Final

_DATA: Final = b"data:"
LONGEST_LINE: Final = 64 << 20  # bytes


class EventLines:
    """Cuts a stream into events."""

    def __init__(self) -> None:
        self._rest = bytearray()  # of the line that is not complete

    def feed(self, data: bytes) -> list[bytes]:
        """Return the data of the events that `data` completes; raise ValueError for a line without an end."""
        *lines, rest = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += rest
        if len(self._rest) > LONGEST_LINE:
            raise ValueError(f"an event has more than {LONGEST_LINE} bytes")
        return [found for line in lines if (found := event_data(line)) is not None]


def event_data(line: bytes) -> bytes | None:
    """Return the data in a line of a stream, None for any other line, such as a comment."""
    return line[len(_DATA) :].strip() if line.startswith(_DATA) else None
