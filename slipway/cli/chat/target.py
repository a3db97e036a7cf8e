"""What a chat talks to: the model of a server that runs, or a source that is served for the time of the chat."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from slipway.cli.chat.client import ChatClient, OfferedModel
from slipway.cli.chat.own_server import own_server
from slipway.cli.client_key import requested_key
from slipway.cli.peer import await_listener
from slipway.cli.sources.kinds import nearest_path
from slipway.cli.tls import DEFAULT_URL, Address, Tls
from slipway.errors import invalid, shown
from slipway.nearest import nearest_or_all

_URL: Final = re.compile(r"https?://.+|[\w.-]+:\d+(/.*)?|\[[0-9a-fA-F:]+\]:\d+(/.*)?")
_API: Final = "/v1"  # which OpenAI's clients have at the end of their URLs


@contextmanager
def opened_target(options: argparse.Namespace) -> Iterator[tuple[ChatClient, OfferedModel]]:
    """Yield the server and the model that the options mean; a source is served inside the block.

    Raise `SlipwayError` if the server or the model does not exist.
    """
    target: str | None = options.target
    if target is None or not (_URL.fullmatch(target) or _is_source(target)):
        if target is not None and options.model is not None:
            raise invalid(f"--model is for a URL or a source, but '{shown(target)}' is the name of a model")
        client = _client(options, options.server or DEFAULT_URL["http"], "--server")
        yield client, _chosen(client.models(), target or options.model, target or "")
        return
    if options.server is not None:
        raise invalid(f"--server is for the name of a model, but '{shown(target)}' is a URL or a source")
    if _URL.fullmatch(target):
        client = _client(options, target, "the URL")
        yield client, _chosen(client.models(), options.model, "")
        return
    with own_server(target) as address:
        client = ChatClient(Address.of(address, encrypted=False), headers=requested_key(options))
        yield client, _chosen(client.models(), options.model, "")


def _is_source(target: str) -> bool:
    """Return whether a target is to be served: a path, or the id of a model on a hub."""
    return "/" in target or Path(target).exists()


def _client(options: argparse.Namespace, text: str, flag: str) -> ChatClient:
    files = (options.ca_certificate, options.client_certificate, options.client_key)
    scheme, separator, rest = text.partition("://")
    encrypted = (scheme == "https" if separator else False) or options.ssl or options.insecure or any(files)
    tls = Tls(encrypted, *files, verified=not options.insecure)
    if tls.used:
        tls.check()
    place = (rest if separator else text).rstrip("/").removesuffix(_API)
    address = Address.of(place, encrypted=tls.used, flag=flag)
    await_listener(address, options.wait)
    return ChatClient(address, tls, requested_key(options), "--server")


def _chosen(models: Sequence[OfferedModel], name: str | None, typed: str) -> OfferedModel:
    """Return the model with a name, or without one the only model; `typed` is what might have been a path."""
    names = [model.name for model in models]
    if name is None:
        if len(models) == 1:
            return models[0]
        if not models:
            raise invalid("the server has no model that generates text")
        raise invalid(f"the server has several models, specify one of them: {', '.join(names)}")
    for model in models:
        if model.name == name:
            return model
    near = nearest_or_all(name, names) if names else ": it has none that generates text"
    path = nearest_path(typed) if typed else ""
    raise invalid(f"the server has no model '{shown(name)}'{near}{path}")
