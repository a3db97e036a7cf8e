"""`triton_client`: the lines of a file through a model on a running server, one output line per input line."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from slipway.cli.client_key import KEY_FILE_HELP, KEY_HELP, key_headers
from slipway.cli.interruption import Terminated
from slipway.cli.peer import explain, listens
from slipway.cli.progress import progress
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.cli.tls import DEFAULT_URL, Address, Tls
from slipway.client.endpoint import Endpoint
from slipway.config.flags import BOOLEAN, POSITIVE_FLOAT, TEXT, Kind, choice, whole
from slipway.config.restrictions import HEADER, HEADER_HELP
from slipway.errors import SlipwayError
from slipway.lines.connection import Connect
from slipway.lines.grpc_connection import GrpcModelConnection
from slipway.lines.http_connection import HttpModelConnection
from slipway.lines.job import LinesJob, SentLines, send_lines
from slipway.lines.progress import LinesProgress
from slipway.lines.source import STANDARD
from slipway.lines.transfer import TransferOptions, TransferState

_REPORT_S: Final = 10.0  # between two lines of progress without a terminal
_FILE: Final = Kind("FILE", str)
_COUNT: Final = whole(0, 2**31 - 1)
_ENCRYPTED: Final = ("https", "grpcs")
_DEFAULTS: Final = TransferOptions()


@dataclass(frozen=True, slots=True)
class ClientFlags:
    """The flags of `triton_client`."""

    server: str = flag(
        "",
        Kind("HOST:PORT", str),
        "address of the server; https:// encrypts (default: localhost:8000, or localhost:8001 for gRPC)",
    )
    model_name: str = flag("", TEXT, "model to send the lines to")
    model_version: str = flag("", TEXT, "version of the model (default: set by its version policy)")
    input_file: str = flag("", _FILE, "file with one text per line; - is standard input")
    output_file: str = flag(STANDARD, _FILE, "file for one result per line, in the same order; - is standard output")
    restart: bool = flag(False, BOOLEAN, "begin again instead of going on with an interrupted run")

    protocol: str = flag("http", choice(*DEFAULT_URL), "protocol of the server", section="Requests")
    input_name: str = flag("", TEXT, "string input that takes the lines (default: found)", section="Requests")
    output_name: str = flag("", TEXT, "string output that is written (default: found)", section="Requests")
    batch_size: int = flag(0, _COUNT, "lines per request; 0 is 32, or what the model accepts", section="Requests")
    concurrency: int = flag(
        _DEFAULTS.connections, whole(1, 1024), "requests under way at the same time", section="Requests"
    )
    timeout_secs: float = flag(600.0, POSITIVE_FLOAT, "seconds to wait for one response", section="Requests")
    retry_secs: float = flag(
        _DEFAULTS.patience, POSITIVE_FLOAT, "seconds to try again while the server is away", section="Requests"
    )

    max_line_bytes: int = flag(
        _DEFAULTS.max_line_bytes, whole(1), "a longer line is refused", section="Lines that cannot be sent"
    )
    max_refused: int = flag(
        _DEFAULTS.refusals,
        _COUNT,
        "stop after this many refused lines in a row; each has an empty output line; 0 is never",
        section="Lines that cannot be sent",
    )
    undecodable: str = flag(
        "replace",
        choice("replace", "send"),
        "bytes that are not UTF-8: replaced by U+FFFD, or sent as they are",
        section="Lines that cannot be sent",
    )

    header: tuple[tuple[str, str], ...] = flag((), HEADER, HEADER_HELP, section="Requests", gather=tuple)
    api_key: str = flag("", TEXT, KEY_HELP, section="Requests")
    api_key_file: str = flag("", _FILE, KEY_FILE_HELP, section="Requests")

    ca_certificate: str = flag("", _FILE, "PEM file of the authorities to trust", section="TLS")
    client_certificate: str = flag("", _FILE, "PEM file of this client's certificate", section="TLS")
    client_key: str = flag("", _FILE, "PEM file of its private key", section="TLS")
    insecure: bool = flag(False, BOOLEAN, "accept any certificate of the server", section="TLS")


COMMAND: Final = AbslCommand(
    "triton_client",
    "Send the lines of a file to a model on a running server, and write one line per line. An interrupted run goes on "
    "where it ended.",
    ClientFlags,
    required=("model_name", "input_file"),
)


def run(arguments: Sequence[str]) -> int:
    """Send the lines; return 0, or 1 if lines were refused, which have empty output lines."""
    flags = read_flags(COMMAND, arguments)
    job = _job(flags)
    shown = _Shown(bar=sys.stderr.isatty() and not (flags.output_file == STANDARD and sys.stdout.isatty()))
    started = time.monotonic()
    with progress(sys.stderr) if shown.bar else nullcontext(lambda _: None) as show:
        shown.show = show
        try:
            sent = _run(job, shown)
        except KeyboardInterrupt as interrupt:
            raise type(interrupt)(_how_far(shown, flags)) from None
        except SlipwayError as error:
            if not shown.state.done:
                raise
            raise SlipwayError(error.code, f"{error.message}; {_how_far(shown, flags)}") from None
    _summarise(sent, time.monotonic() - started, flags)
    return 1 if sent.state.refused else 0


class _Shown:
    """Progress on a terminal as one line, elsewhere as a line now and then."""

    def __init__(self, *, bar: bool) -> None:
        self.bar = bar
        self.show: Callable[[LinesProgress], object] = lambda _: None
        self.state = TransferState()
        self._started = self._reported = time.monotonic()
        self._total = -1

    def observe(self, state: TransferState, total: int) -> None:
        """Show how far the run is."""
        now = time.monotonic()
        begins = state is not self.state or total != self._total  # the same state changes while lines are written
        self.state, self._total = state, total
        if self.bar and begins:
            self.show(LinesProgress(state, total))
        elif not self.bar and now - self._reported >= _REPORT_S:
            self._reported = now
            print(LinesProgress(state, total).after(now - self._started), file=sys.stderr, flush=True)


def _run(job: LinesJob, shown: _Shown) -> SentLines:
    terminated = False

    def terminate() -> None:
        nonlocal terminated
        terminated = True
        task.cancel()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        loop = runner.get_loop()
        task = loop.create_task(send_lines(job, shown.observe))
        loop.add_signal_handler(signal.SIGTERM, terminate)
        try:
            return runner.run(_awaited(task))
        except asyncio.CancelledError:
            if terminated:
                raise Terminated from None
            raise


async def _awaited(task: asyncio.Task[SentLines]) -> SentLines:
    return await task


def _job(flags: ClientFlags) -> LinesJob:
    address, tls = _address(flags)
    prefix = "/".join(["", *address.text.split("/")[1:]]).rstrip("/")
    context = tls.context("http") if tls.used and flags.protocol == "http" else None
    return LinesJob(
        source=flags.input_file,
        output=flags.output_file,
        endpoint=Endpoint(address.host, address.port, prefix, context, flags.timeout_secs, _headers(flags)),
        connect=HttpModelConnection if flags.protocol == "http" else _over_grpc(tls, address),
        model=flags.model_name,
        version=flags.model_version,
        input_name=flags.input_name,
        output_name=flags.output_name,
        restart=flags.restart,
        transfer=TransferOptions(
            rows=flags.batch_size,
            connections=flags.concurrency,
            patience=flags.retry_secs,
            refusals=flags.max_refused,
            max_line_bytes=flags.max_line_bytes,
            strict=flags.undecodable == "replace",
        ),
        explain=lambda: explain(address, flags.protocol, tls, flag="--server") if listens(address) else "",
    )


def _headers(flags: ClientFlags) -> tuple[tuple[str, str], ...]:
    file = Path(flags.api_key_file) if flags.api_key_file else None
    return tuple(key_headers(flags.api_key or None, file, flags.header).items())


def _over_grpc(tls: Tls, address: Address) -> Connect:
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its own lines on a failed connection; the error says it already
    settings = tls.settings("grpc", address)
    return partial(
        GrpcModelConnection, credentials=settings.get("creds"), options=tuple(settings.get("channel_args", ()))
    )


def _address(flags: ClientFlags) -> tuple[Address, Tls]:
    scheme, separator, rest = (flags.server or DEFAULT_URL[flags.protocol]).partition("://")
    text = rest.rstrip("/") if separator else scheme
    names = (flags.ca_certificate, flags.client_certificate, flags.client_key)
    authorities, certificate, key = (Path(name) if name else None for name in names)
    used = (bool(separator) and scheme in _ENCRYPTED) or flags.insecure or any(names)
    tls = Tls(used, authorities, certificate, key, verified=not flags.insecure)
    if used:
        tls.check()
    return Address.of(text, encrypted=used, flag="--server"), tls


def _how_far(shown: _Shown, flags: ClientFlags) -> str:
    if STANDARD in (flags.input_file, flags.output_file):
        return f"{_count(shown.state.done)} written"
    return f"{_count(shown.state.done)} in '{flags.output_file}'; the same command goes on with the rest"


def _summarise(sent: SentLines, seconds: float, flags: ClientFlags) -> None:
    state = sent.state
    lines = [f"{_count(state.written)} in {seconds:.1f} s, {state.written / max(seconds, 1e-9):,.0f} lines/s"]
    if state.before:
        lines[0] += f", after {state.before:,} of an earlier run"
    if flags.output_file != STANDARD:
        lines[0] += f": {flags.output_file}"
    if sent.repaired:
        lines.append(
            f"warning: bytes that are not UTF-8 were replaced by U+FFFD in {_count(sent.repaired)}, first in line "
            f"{sent.first_repaired}"
        )
    if state.refused:
        lines.append(
            f"warning: {_count(state.refused)} refused, which left empty lines in the output; the first is line "
            f"{state.first_refused}: {state.reason}"
        )
    print("\n".join(lines), file=sys.stderr)


def _count(lines: int) -> str:
    return "1 line" if lines == 1 else f"{lines:,} lines"
