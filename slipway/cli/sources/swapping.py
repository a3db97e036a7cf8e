"""While the server runs: convert the faster form of a model in a child process, and let it replace the exact one.

Requests go on meanwhile: a version serves until its successor is ready. If the conversion fails, or the server cannot
load what it wrote, the exact form stays.
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import msgspec

from slipway.cli.sources.background import BackgroundJob
from slipway.cli.sources.cache import ConvertedCache, HeldEntry, cache_root
from slipway.cli.sources.preparing import FasterForm
from slipway.core.model_id import ModelId
from slipway.engine.failures import LoadFailure
from slipway.errors import SlipwayError

_LOG: Final = logging.getLogger("slipway.cli")
_ROOT: Final = str(Path(__file__).parents[3])  # must be on sys.path for `import slipway`
_CLEAN_UP_S: Final = 5.0  # of a child that is asked to end


class Refreshing(Protocol):
    """The engine as this module sees it."""

    async def refresh(self, names: Sequence[str]) -> Mapping[ModelId, LoadFailure]:
        """Load those of the models that serve again, from their files as they are now; return why some failed."""


class Swaps:
    """Converts the faster forms one after another; `run` it as a task, and cancel that at the end."""

    def __init__(self, forms: Sequence[FasterForm]) -> None:
        self._forms = forms
        self._cache = ConvertedCache(cache_root())
        self._held: list[HeldEntry] = []

    async def run(self, engine: Refreshing) -> None:
        """Convert and swap in every form; end the child when cancelled."""
        for form in self._forms:
            name = form.request.name
            _LOG.info("'%s' is served in %s; converting a faster form in the background", name, _chosen(form.exact))
            try:
                why = await _convert(form, self._cache.root) or await self._swap(form, engine)
            except SlipwayError as error:
                why = error.message
            if why:
                _LOG.error("'%s' stays as it is, in %s: %s", name, _chosen(form.exact), why)

    def release(self) -> None:
        """Let the forms that were swapped in be removed from the cache."""
        for held in self._held:
            held.release()

    async def _swap(self, form: FasterForm, engine: Refreshing) -> str:
        """Swap in a form that was converted; return why that failed, or ""."""
        held = await asyncio.to_thread(self._cache.hold, form.request.entry_name(form.located.content))
        self._held.append(held)
        if held.record is None:
            held.discard()
            return "the faster form was removed from the cache"
        if held.record.chosen == _chosen(form.exact):
            _LOG.info("'%s' stays as it is: %s is the fastest that passed the gate", form.request.name, _chosen(held))
            return ""
        names = held.record.models
        form.links.point(held.models, names)
        failed = await engine.refresh(names)
        if failed:
            form.links.point(form.exact.models, names)
            await engine.refresh(names)
            return "; ".join(f"{name}: {failure.detail}" for name, failure in failed.items())
        _LOG.info("'%s' is served in %s now", form.request.name, _chosen(held))
        for line in held.record.lost:
            _LOG.info("%s", line)
        return ""


async def _convert(form: FasterForm, cache: Path) -> str:
    """Have a child convert; return why it failed, or ""."""
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), _ROOT]))
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "slipway.cli.sources.background", str(os.getpid())),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,  # Ctrl-C is for the server, which ends the child
    )
    job = BackgroundJob.of(form.source, form.located, form.request, cache)
    try:
        _, errors = await child.communicate(msgspec.json.encode(job))
    except asyncio.CancelledError:
        await _end(child)
        raise
    lines = errors.decode(errors="replace").strip().splitlines()
    return "" if child.returncode == 0 else lines[-1] if lines else f"the conversion ended with {child.returncode}"


async def _end(child: asyncio.subprocess.Process) -> None:
    with suppress(ProcessLookupError):
        child.terminate()
        try:
            await asyncio.wait_for(child.wait(), _CLEAN_UP_S)
        except TimeoutError:
            child.kill()
            await child.wait()


def _chosen(held: HeldEntry) -> str:
    return held.record.chosen if held.record is not None else ""
