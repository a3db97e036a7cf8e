"""The proxy of `slipway serve --proxy`, as the server sees it: a child process that is started again when it dies.

A process of its own, because a proxied request takes ten times the time of the request itself: on the server's event
loop, it would slow down every other client. Does not import the proxy.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from slipway.errors import unavailable
from slipway.installation import install_hint
from slipway.proxy.listening import listen

NEEDED: Final = ("fastapi", "uvicorn", "fastapi_offline", "yaml")  # what the extra `proxy` installs
_CHILD: Final = "slipway.proxy.child"
_ROOT: Final = str(Path(__file__).parents[2])  # must be on sys.path for `import slipway`
_LOG: Final = logging.getLogger("slipway.proxy")
_FIRST_S: Final = 0.5
_LONGEST_S: Final = 30.0
_STABLE_S: Final = 10.0  # a child that ran this long did not fail to start
_KILLED_S: Final = 1.0  # before the end of the time to stop


def check_installed() -> None:
    """Raise UNAVAILABLE, with the command that installs it, if a library of the proxy is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise unavailable(f"the proxy needs {missing[0]}, which is not installed: {install_hint('proxy')}")


class ProxyProcess:
    """The child that serves on `address`:`port`; `flags` are those of `slipway proxy`."""

    def __init__(self, address: str, port: int, flags: Sequence[str]) -> None:
        self._address = address
        self._port = port
        self._flags = tuple(flags)
        self._listener: socket.socket
        self._process: Process | None = None
        self._watching: asyncio.Task[None]

    async def start(self) -> int:
        """Listen and start the child; return the port. Raise UNAVAILABLE if that is not possible. Connections wait
        until the child runs."""
        check_installed()
        self._listener = listen(self._address, self._port)
        self._watching = asyncio.create_task(self._watch())
        port: int = self._listener.getsockname()[1]
        return port

    async def stop(self, grace_s: float) -> None:
        """Let the child answer what it accepted, for up to `grace_s` seconds, and end it."""
        self._watching.cancel()
        with suppress(asyncio.CancelledError):
            await self._watching
        self._listener.close()
        process = self._process
        if process is None or process.returncode is not None:
            return
        process.terminate()
        try:
            async with asyncio.timeout(max(_KILLED_S, grace_s - _KILLED_S)):
                await process.wait()
        except TimeoutError:
            _LOG.warning("the proxy did not answer all requests in time")
            process.kill()
            await process.wait()

    async def _watch(self) -> None:
        """Keep a child running."""
        loop = asyncio.get_running_loop()
        wait = _FIRST_S
        while True:
            started = loop.time()
            await self._run()
            wait = _FIRST_S if loop.time() - started > _STABLE_S else min(_LONGEST_S, wait * 2)
            code = self._process.returncode if self._process else None
            _LOG.error("the proxy ended with exit code %s; it is started again in %g s", code, wait)
            await asyncio.sleep(wait)

    async def _run(self) -> None:
        descriptor = self._listener.fileno()
        command = [sys.executable, "-P", "-m", _CHILD, str(descriptor), *self._flags]
        path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), _ROOT]))
        try:
            self._process = await asyncio.create_subprocess_exec(
                *command,
                stdin=PIPE,
                pass_fds=(descriptor,),
                env={**os.environ, "PYTHONPATH": path},
                start_new_session=True,
            )
        except OSError as error:
            _LOG.error("the proxy cannot be started: %s", error.strerror)
            return
        await self._process.wait()
