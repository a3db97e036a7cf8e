"""Keep back what libraries print during a long job, so that it does not break the progress line or hide the result."""

from __future__ import annotations

import faulthandler
import io
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, TextIO

from slipway.errors import SlipwayError

_STDOUT: Final = 1
_STDERR: Final = 2


@contextmanager
def apart_from_libraries(*, verbose: bool = False) -> Iterator[TextIO]:
    """Yield a stream to standard error, while everything else that this process and its children print inside the
    block is kept back. It is shown if an unexpected error ends the block; with `verbose`, at once.

    A crash of native code loses what was kept; the Python stack at that moment is printed instead.
    """
    if verbose:
        yield sys.stderr
        return
    with tempfile.TemporaryFile() as kept:
        try:
            with _redirected(kept.fileno()) as stream:
                yield stream
        except (SlipwayError, OSError, KeyboardInterrupt):  # main() says in a line what happened
            raise
        except BaseException:
            kept.seek(0)
            sys.stderr.write(kept.read().decode(errors="replace"))
            raise


@contextmanager
def _redirected(target: int) -> Iterator[TextIO]:
    """Let standard output and standard error write to the descriptor `target` inside the block; yield a stream to the
    former standard error."""
    _flush()
    former = {number: os.dup(number) for number in (_STDOUT, _STDERR)}
    is_file = _writes_to(sys.stderr, _STDERR)  # a test may have replaced it
    watched = is_file and not faulthandler.is_enabled()
    try:
        stream = os.fdopen(os.dup(_STDERR), "w", encoding="utf-8") if is_file else sys.stderr
        if watched:
            faulthandler.enable(former[_STDERR])
        for number in former:
            os.dup2(target, number)
        try:
            yield stream
        finally:
            _flush()
            if is_file:
                stream.close()
    finally:
        if watched:
            faulthandler.disable()
        for number, descriptor in former.items():
            os.dup2(descriptor, number)
            os.close(descriptor)


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _writes_to(stream: TextIO, descriptor: int) -> bool:
    try:
        return stream.fileno() == descriptor
    except io.UnsupportedOperation:
        return False
