"""Open the instances of a loaded model, each where its backend wants to run."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final

from slipway.backends.api import InstanceSpec, LoadedModel, ModelContext, Placement
from slipway.backends.instance_api import Instance, OpensInstances
from slipway.errors import internal
from slipway.instances.inline import InlineInstance
from slipway.instances.thread import ThreadInstance

_LOG: Final = logging.getLogger("slipway.instances")

Open = Callable[[LoadedModel, ModelContext, InstanceSpec], Awaitable[Instance]]


async def open_instances(model: LoadedModel, context: ModelContext, specs: Sequence[InstanceSpec]) -> list[Instance]:
    """Open one instance per spec, all at the same time. If one fails, close the others and raise its error."""
    if model.placement is Placement.INLINE and any(spec.cpus for spec in specs):
        text = "model '%s': the host policy has no effect, because the model runs on the event loop"
        _LOG.warning(text, context.name)
    opener = _OPEN[model.placement]
    opened = await asyncio.gather(*(opener(model, context, spec) for spec in specs), return_exceptions=True)
    failures = [result for result in opened if isinstance(result, BaseException)]
    instances = [result for result in opened if not isinstance(result, BaseException)]
    if failures:
        await asyncio.gather(*(instance.close() for instance in instances), return_exceptions=True)
        raise failures[0]
    return instances


async def _open_inline(model: LoadedModel, context: ModelContext, spec: InstanceSpec) -> Instance:  # noqa: ARG001
    return InlineInstance(spec.name, await asyncio.to_thread(model.open, spec))


async def _open_thread(model: LoadedModel, context: ModelContext, spec: InstanceSpec) -> Instance:  # noqa: ARG001
    instance = ThreadInstance(spec.name, asyncio.get_running_loop(), spec.cpus)
    await instance.open(lambda: model.open(spec))
    return instance


async def _open_process(model: LoadedModel, context: ModelContext, spec: InstanceSpec) -> Instance:
    if not isinstance(model, OpensInstances):
        raise internal(f"model '{context.name}' is placed in a child process but cannot open one")
    return await model.open_instance(context, spec)


_OPEN: Final[Mapping[Placement, Open]] = {
    Placement.INLINE: _open_inline,
    Placement.THREAD: _open_thread,
    Placement.PROCESS: _open_process,
}
