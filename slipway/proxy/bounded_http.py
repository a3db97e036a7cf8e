"""uvicorn's HTTP/1.1 with a limit on what is not a body: heads, trailers, chunk extensions.

uvicorn itself collects a head, and the trailers after a body, as long as the client sends them.
"""

from __future__ import annotations

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_BYTES: Final = 64 << 10  # of a head or trailers, besides what came in one piece with its end


class BoundedHttpProtocol(HttpToolsProtocol):
    """One connection, which is closed when its client sends too much that is not a body."""

    _beside = 0  # bytes since a head was complete or a part of a body came
    _is_moving = False

    def data_received(self, data: bytes) -> None:
        """Read what came."""
        self._is_moving = False
        super().data_received(data)
        self._beside = 0 if self._is_moving else self._beside + len(data)
        if self._beside > MOST_BYTES and not self.transport.is_closing():
            if self.cycle is None or self.cycle.response_complete:
                self.send_400_response(f"The head of a request has more than {MOST_BYTES} bytes.")
            else:  # the application may have begun to answer
                self.transport.close()

    def on_headers_complete(self) -> None:
        """Begin a request."""
        self._is_moving = True
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Take a part of a body."""
        self._is_moving = True
        super().on_body(body)
