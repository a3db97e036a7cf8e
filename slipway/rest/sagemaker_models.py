"""Multi-model endpoints of SageMaker: load, list, describe, invoke and unload models while the server runs.

The platform unpacks an archive below /opt/ml/models and passes on its directory, with a name that it makes up and, in a
header, the name of the archive. Source: as sagemaker.py. Two rules are stricter than tritonserver's: a directory has to
be below `--sagemaker-model-directory`, and an invocation reaches only models that were loaded here.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol
from urllib.parse import unquote

import orjson

from slipway.core.request import InferResponse
from slipway.errors import Code, SlipwayError, invalid, not_found, shown
from slipway.repository.scan import CONFIG_FILE, is_single_model, scan_versions, stray_reason
from slipway.rest.cloud_infer import infer_route
from slipway.rest.context import Context, Match, ModelTarget
from slipway.rest.exchange import Exchange
from slipway.rest.response import JSON, error_body
from slipway.rest.sagemaker import BINARY_TYPE, SagemakerCall
from slipway.wire.json_text import parse_object

_TARGET: Final = b"x-amzn-sagemaker-target-model"
_ENSEMBLE: Final = re.compile(r'^\s*platform\s*:\s*"ensemble"|^\s*ensemble_scheduling\b', re.MULTILINE)
_MAX_CONFIG: Final = 1 << 20
_INSUFFICIENT_STORAGE: Final = 507  # SageMaker then unloads other models and tries again
_OUT_OF_MEMORY: Final = re.compile(
    r"out[ _]?of[ _]?memory|\boom\b|memoryerror|enough memory|failed to allocate memory|alloc_failed|no space left",
    re.IGNORECASE,
)


class ModelHost(Protocol):
    """What serves the models (`engine.outside.OutsideModels`)."""

    def is_served(self, name: str) -> bool:
        """Return whether a version of the model serves."""

    async def load(self, directories: Mapping[str, Path]) -> None:
        """Load a model from each directory, all of them or none; raise `SlipwayError`."""

    async def unload(self, directories: Mapping[str, Path]) -> None:
        """Unload what was loaded from these directories, and wait until their files are not needed any more."""


@dataclass(frozen=True, slots=True)
class Archive:
    """The models of a directory, the one that is invoked first, and the repository that they form."""

    models: Mapping[str, Path]
    repository: Path

    @property
    def main(self) -> str:
        """The name of the model that is invoked."""
        return next(iter(self.models))


def read_archive(url: str, name: str, root: Path) -> Archive:
    """Return the models in a directory below `root`: itself, the only one in it, or an ensemble and the models beside
    it. The first one gets `name`. Raise INVALID_ARG for anything else."""
    path = Path(os.path.normpath(url))  # as it is written: the platform may link to its volumes
    if not path.is_absolute() or not path.is_relative_to(root) or path == root:
        raise invalid(f"failed to register '{shown(url)}', it is not a directory below '{root}'")
    try:
        if is_single_model(path) or scan_versions(path).paths:
            return Archive({name: path}, path.parent)
        folders = {each.name: each for each in sorted(path.iterdir()) if each.is_dir() and not stray_reason(each)}
    except (OSError, ValueError):  # ValueError: it contains NUL
        raise invalid(f"failed to register '{shown(url)}', repository not found") from None
    mains = list(folders) if len(folders) == 1 else [each for each in folders if _is_ensemble(folders[each])]
    if len(mains) != 1:
        found = f"{len(folders)} models and {len(mains)} ensembles"
        raise invalid(f"failed to register '{shown(url)}', it contains {found}, not one model or one ensemble")
    main = folders.pop(mains[0])
    if name in folders:
        raise invalid(f"failed to register '{shown(url)}', a part of its ensemble is called '{shown(name)}' too")
    return Archive({name: main, **folders}, path)


def _is_ensemble(directory: Path) -> bool:
    try:
        with (directory / CONFIG_FILE).open(encoding="utf-8", errors="replace") as file:
            return _ENSEMBLE.search(file.read(_MAX_CONFIG)) is not None
    except OSError:
        return False


def is_out_of_memory(message: str) -> bool:
    """Return whether an error says that there is not enough memory."""
    return _OUT_OF_MEMORY.search(message) is not None


class InvocationCall(SagemakerCall):
    """The invocation of one of many models."""

    __slots__ = ()

    def deliver(self, response: InferResponse) -> None:
        """Encode and send the response; a lack of memory has a status of its own."""
        if response.error is not None and is_out_of_memory(response.error.message):
            self._exchange.answer(_INSUFFICIENT_STORAGE, JSON, error_body(response.error.message))
        else:
            super().deliver(response)


_INVOKE: Final = infer_route(BINARY_TYPE, InvocationCall)


class MultiModel:
    """The models that were loaded here, by the name that the platform made up."""

    def __init__(self, host: ModelHost, root: Path) -> None:
        self._host = host
        self._root = root
        self._archives: dict[str, Archive] = {}
        self._loading: set[str] = set()

    def route(self, exchange: Exchange) -> Match | None:
        """Return the route for an exchange, or None."""
        group = "model-repository"
        match exchange.method, exchange.path.decode("latin-1").split("/")[1:]:
            case b"GET", ["models"] | ["models", ""]:
                return Match(b"GET", self._list, group)
            case b"POST", ["models"] | ["models", ""]:
                return Match(b"POST", self._load, group, changes_state=True)
            case b"GET", ["models", name]:
                return Match(b"GET", self._describe, group, ModelTarget(unquote(name)))
            case b"DELETE", ["models", name] if name:
                return Match(b"DELETE", self._unload, group, ModelTarget(unquote(name)), changes_state=True)
            case b"POST", ["models", name, "invoke"] if name:
                return Match(b"POST", self._invoke, "inference", ModelTarget(unquote(name)))
        return None

    def _list(self, _: Context, exchange: Exchange, __: ModelTarget) -> None:
        ready = [name for name, archive in self._archives.items() if self._host.is_served(archive.main)]
        exchange.answer(200, JSON, orjson.dumps({"models": [self._described(name) for name in ready]}))

    def _describe(self, _: Context, exchange: Exchange, target: ModelTarget) -> None:
        self._find(target)
        exchange.answer(200, JSON, orjson.dumps(self._described(target.model)))

    def _invoke(self, context: Context, exchange: Exchange, target: ModelTarget) -> None:
        _INVOKE(context, exchange, ModelTarget(self._find(target).main))

    def _load(self, _: Context, exchange: Exchange, __: ModelTarget) -> None:
        target = exchange.headers.get(_TARGET, b"").decode("latin-1")
        exchange.run(self._run(exchange, self._loaded(exchange.text(), target)), to_end=True)

    def _unload(self, _: Context, exchange: Exchange, target: ModelTarget) -> None:
        models = self._find(target).models
        del self._archives[target.model]
        exchange.run(self._run(exchange, self._host.unload(models)), to_end=True)

    async def _loaded(self, body: bytes | bytearray, target: str) -> None:
        document = parse_object(body)
        name, url = (document.get(key) for key in ("model_name", "url"))
        if not (isinstance(name, str) and isinstance(url, str) and name and url):
            raise invalid("a load request needs the strings 'model_name' and 'url'")
        if name in self._archives or name in self._loading:
            raise SlipwayError(Code.ALREADY_EXISTS, f"model '{shown(name)}' has already been registered")
        self._loading.add(name)
        try:
            archive = await asyncio.to_thread(read_archive, url, target or name, self._root)
            await self._host.load(archive.models)
            self._archives[name] = archive
        finally:
            self._loading.discard(name)

    async def _run(self, exchange: Exchange, work: Awaitable[None]) -> None:
        try:
            await work
        except SlipwayError as error:
            status = 409 if error.code is Code.ALREADY_EXISTS else 400
            if is_out_of_memory(error.message):
                status = _INSUFFICIENT_STORAGE
            exchange.answer(status, JSON, error_body(error.message))
        else:
            exchange.answer(200)

    def _find(self, target: ModelTarget) -> Archive:
        archive = self._archives.get(target.model)
        if archive is None:
            raise not_found(f"model '{shown(target.model)}' is not loaded")
        return archive

    def _described(self, name: str) -> dict[str, str]:
        return {"modelName": name, "modelUrl": str(self._archives[name].repository)}
