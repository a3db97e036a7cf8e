"""Share one engine between all models in a process that use the same checkpoint with the same options."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.runtime.batch_metrics import BatchReport
from slipway.runtime.file_stamps import DirectoryStamp, directory_stamp
from slipway.transformer.engines import RoutingEngine, open_engine
from slipway.transformer.generation import SequenceRequest
from slipway.transformer.options import EngineOptions

_Key = tuple[Path, DirectoryStamp, EngineOptions]
_engines: dict[_Key, SharedEngine] = {}
_LOG = logging.getLogger("slipway.transformer")
_lock = Lock()  # held while an engine is opened, so that a second model waits for it


@dataclass(slots=True)
class SharedEngine:
    """An engine and the number of models that use it. Each `acquire_engine` needs one `release`."""

    key: _Key
    engine: RoutingEngine
    users: int = 0
    report: BatchReport = field(default_factory=BatchReport)

    def release(self) -> None:
        """End one use; the last release frees the weights."""
        with _lock:
            self.users -= 1
            if self.users == 0:
                del _engines[self.key]
                self.engine.close()


def acquire_engine(
    directory: Path,
    checkpoint: Checkpoint,
    options: EngineOptions,
    *,
    name: str,
    typical: SequenceRequest | None = None,
) -> SharedEngine:
    """Return the engine of `directory`, opened on first use, and again when its files have changed; `name` is the
    model's name for messages, `typical` as in `open_engine`."""
    place = directory.resolve()
    with _lock:
        key = (place, directory_stamp(place, without=options.cache_directory), options)
        shared = _engines.get(key)
        if shared is None:
            if any(other[:2] == key[:2] for other in _engines):
                _LOG.warning(
                    "model '%s' loads the weights in %s once more, because its engine's parameters (ENGINE, "
                    "COMPUTE_TYPE, KV_CACHE_MIB and others) are not those of the models that share them",
                    name,
                    directory,
                )
            engine = open_engine(checkpoint.spec, checkpoint.weights, options, name=name, typical=typical)
            shared = _engines[key] = SharedEngine(key, engine)
        shared.users += 1
        return shared
