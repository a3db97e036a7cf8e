"""The proxy in a process of its own beside the server that started it: `python -m slipway.proxy.child FD FLAGS`.

It serves on the listening socket that it inherits as FD, until SIGTERM or until the server is gone, which closes
standard input.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading

from slipway.proxy.options import parse_options
from slipway.proxy.running import ends_gracefully, serve


def main() -> int:
    """Serve; return the exit code."""
    listener = socket.socket(fileno=int(sys.argv[1]))
    options = parse_options(sys.argv[2:])
    ends_gracefully()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    return serve(options, listener)


def _end_with_parent() -> None:
    while os.read(0, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
