"""Requests of a chat to a server with OpenAI's API, which may be any."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPResponse
from typing import Any, Final

import orjson

from slipway.cli.event_stream import open_connection, path_prefix
from slipway.cli.peer import explain
from slipway.cli.tls import Address, Tls
from slipway.config.purpose import TASKS, Use
from slipway.errors import Code, SlipwayError, invalid, shown, unavailable
from slipway.foreign_json import parse_foreign

_DATA: Final = b"data:"
_DONE: Final = b"[DONE]"
_OK: Final = 200
_LARGEST: Final = 16 << 20  # bytes of an answer that is not a stream, and of one event


class RefusedChatError(SlipwayError):
    """The server refused a request; `kind` is its word for programs."""

    def __init__(self, message: str, kind: str = "") -> None:
        super().__init__(Code.INVALID_ARG, message)
        self.kind = kind


@dataclass(frozen=True, slots=True)
class OfferedModel:
    """A model of a server; `context` is the number of tokens that it reads and writes, 0 if unknown."""

    name: str
    context: int = 0


@dataclass(frozen=True, slots=True)
class ChatClient:
    """A server, and what is sent with every request."""

    address: Address
    tls: Tls = field(default_factory=Tls)
    headers: Mapping[str, str] = field(default_factory=dict)
    flag: str = "--server"  # that sets the address, for messages

    def models(self) -> list[OfferedModel]:
        """Return the models that generate text, as far as the server says what they are for."""
        with closing(open_connection(self.address, self.tls)) as connection:
            listed = parse_foreign(self._read(self._ask(connection, "GET", "v1/models")), "the server's list of models")
        found = listed.get("data") if isinstance(listed, dict) else None
        if not isinstance(found, list):
            raise unavailable(f"{self.address.text} does not list its models as OpenAI's API does")
        return [
            OfferedModel(each["id"], _count(each.get("max_model_len")))
            for each in found
            if isinstance(each, dict) and isinstance(each.get("id"), str) and _generates(each.get("task"))
        ]

    def stream(self, path: str, body: Mapping[str, Any]) -> Generator[dict[str, Any], None, None]:
        """Yield the events of an answer as they arrive; closing the generator stops the answer.

        Raise `RefusedChatError` with the server's message if it refuses, UNAVAILABLE if the connection fails.
        """
        with closing(open_connection(self.address, self.tls)) as connection:
            response = self._ask(connection, "POST", path, orjson.dumps(body))
            with response:  # its own hold on the socket
                yield from self._events(response)

    def _ask(self, connection: HTTPConnection, method: str, path: str, body: bytes | None = None) -> HTTPResponse:
        content = {} if body is None else {"Content-Type": "application/json"}
        try:
            connection.request(method, f"{path_prefix(self.address)}/{path}", body, {**content, **self.headers})
            response = connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        if response.status != _OK:
            raise _refusal(response.status, self._read(response))
        return response

    def _read(self, response: HTTPResponse) -> bytes:
        try:
            return response.read(_LARGEST)
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None

    def _events(self, response: HTTPResponse) -> Generator[dict[str, Any], None, None]:
        try:
            while line := response.readline(_LARGEST):
                if not line.startswith(_DATA):
                    continue
                data = line[len(_DATA) :].strip()
                if data == _DONE:
                    return
                event = parse_foreign(data, "an event of the server")
                if not isinstance(event, dict):
                    raise invalid(f"the server sent an event that is not a JSON object: {shown(event)}")
                if "error" in event:
                    raise _refused(event["error"])
                yield event
        except (OSError, HTTPException) as error:
            raise self._unreachable(error) from None
        raise unavailable(f"{self.address.text} ended the connection before the answer was complete")

    def _unreachable(self, error: Exception) -> SlipwayError:
        reason = explain(self.address, "http", self.tls, flag=self.flag)
        return unavailable(reason or f"the connection to {self.address.text} failed: {error}")


def _generates(task: Any) -> bool:
    """Return whether a model generates text; servers of other kinds do not say so."""
    return not isinstance(task, str) or TASKS.get(task) in (None, Use.GENERATE)


def _count(value: Any) -> int:
    return value if isinstance(value, int) and value > 0 else 0


def _refusal(status: int, body: bytes) -> RefusedChatError:
    """Return the error in the body of a refusal."""
    try:
        found = orjson.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        text = shown(body.decode(errors="replace").strip())
        return RefusedChatError(f"the server refused the request with status {status}" + (f": {text}" if text else ""))
    return _refused(found)


def _refused(error: Any) -> RefusedChatError:
    if not isinstance(error, dict):
        return RefusedChatError(str(error))
    return RefusedChatError(str(error.get("message")), str(error.get("code") or ""))
