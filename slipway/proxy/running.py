"""Runs the application under uvicorn: in this process, or in several that share the port."""

from __future__ import annotations

import logging
import os
import shlex
import signal
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Any, Final, NoReturn

import uvicorn

from slipway.proxy.app import build_app
from slipway.proxy.bounded_http import BoundedHttpProtocol
from slipway.proxy.listening import listen
from slipway.proxy.log_config import LOG_CONFIG
from slipway.proxy.options import OPTIONS_VARIABLE, ProxyOptions

_DRAIN_S: Final = 30
_APP: Final = "slipway.proxy.main:app"


def run_proxy(options: ProxyOptions, arguments: Sequence[str]) -> int:
    """Serve until SIGTERM or SIGINT, and answer what was accepted; return the exit code. `arguments` are those that the
    options were read from, for further processes."""
    ends_gracefully()
    if options.workers == 1:
        return serve(options, listen(options.address, options.port))
    os.environ[OPTIONS_VARIABLE] = shlex.join(arguments)
    uvicorn.run(_APP, host=options.address, port=options.port, workers=options.workers, **_settings(options))
    return 0


def serve(options: ProxyOptions, listener: socket.socket) -> int:
    """Serve in this process on a socket that listens; return the exit code."""
    config = uvicorn.Config(build_app(options), **_settings(options))
    _log_address(listener)
    uvicorn.Server(config).run([listener])
    return 0


def ends_gracefully() -> None:
    """Let SIGTERM and SIGINT end the process with exit code 0: at once before uvicorn handles them, and once it has
    ended, when it raises them again."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _end)


def _end(_number: int, _frame: FrameType | None) -> NoReturn:
    raise SystemExit(0)


def _settings(options: ProxyOptions) -> dict[str, Any]:
    return {
        "loop": "uvloop",
        "http": BoundedHttpProtocol,
        "ws": "none",
        "lifespan": "on",
        "log_config": options.log_config or LOG_CONFIG,
        "access_log": options.log_access or bool(options.log_config),
        "server_header": False,
        "proxy_headers": False,
        "timeout_graceful_shutdown": _DRAIN_S,
    }


def _log_address(listener: socket.socket) -> None:
    """Log where the proxy is; uvicorn's Config has set up the logging."""
    host, port = listener.getsockname()[:2]
    logging.getLogger("uvicorn.error").info(
        "Proxy at http://%s:%d, with the models' fields at /docs", f"[{host}]" if ":" in host else host, port
    )
