"""The messages between a command and the child that works for it: typed structs in msgpack, never pickle.

The child has read foreign files, so what it sends is checked like any input: type, size and order.
"""

from __future__ import annotations

import socket
import struct
from typing import Final

import msgspec

from slipway.convert.steps import ConversionStep
from slipway.errors import Code, SlipwayError
from slipway.problems import Problem, Rule

_LENGTH: Final = struct.Struct("<I")
_RULES: Final = {rule.value: rule for rule in Rule}
_LARGEST: Final = 64 << 20  # bytes; the largest message is a report


class ConfinedLinkError(Exception):
    """What came over the link is not a message of this protocol."""


class Job(msgspec.Struct, frozen=True, tag=True):
    """What the child is to do: `module.work` for the command line `words`.

    `source` is the local path of a source that was fetched, and `origin` its display name; `base` is the local path of
    an adapter's base that was fetched. `lost` maps the labels of
    candidates that ended an earlier child to the reason. `memory` is in bytes, `seconds` are those of a step. The child
    adds `isolation`, its limits as text, and `exposed`, the reason why it could not be cut off from the network.
    """

    module: str
    words: tuple[str, ...]
    source: str = ""
    origin: str = ""
    base: str = ""
    lost: dict[str, str] = {}
    memory: int | None = None
    seconds: float | None = None
    network: bool = False
    isolation: str = ""
    exposed: str = ""


class ShowStep(msgspec.Struct, frozen=True, tag=True):
    """The next step of the work, as in `ConversionStep`."""

    number: int
    total: int
    text: str
    seconds_left: float | None
    candidate: str

    @classmethod
    def of(cls, step: ConversionStep) -> ShowStep:
        """Return the message for a step."""
        return cls(step.number, step.total, step.text, step.seconds_left, step.candidate)

    def step(self) -> ConversionStep:
        """Return the step."""
        return ConversionStep(self.number, self.total, self.text, self.seconds_left, self.candidate)


class SayText(msgspec.Struct, frozen=True, tag=True):
    """A text for standard output, or for standard error if it is a warning."""

    text: str
    warning: bool = False


class StageRequest(msgspec.Struct, frozen=True, tag=True):
    """A request for a directory to write to; `names` are what the command will replace. Answered with `StageReply`."""

    names: tuple[str, ...]


class PlaceRequest(msgspec.Struct, frozen=True, tag=True):
    """A request to put finished files in place, target -> source. Answered with `StageReply`."""

    files: dict[str, str]


class StageReply(msgspec.Struct, frozen=True, tag=True):
    """The directory to write to, or "" if the files are in place."""

    directory: str = ""


class JobFailed(msgspec.Struct, frozen=True, tag=True):
    """An error that ends the work. `fixes` are pairs of rule and fix; `trace` is the traceback of an unexpected error;
    `memory` says that the system refused to give more of it."""

    code: str
    text: str
    fixes: tuple[tuple[str, str], ...] = ()
    trace: str = ""
    memory: bool = False

    def error(self) -> SlipwayError:
        """Return the error; raise ConfinedLinkError if it is not one of ours."""
        try:
            problems = [Problem(_RULES[rule], self.text, fix=fix) for rule, fix in self.fixes]
            return SlipwayError(Code[self.code], self.text, problems=problems)
        except KeyError as error:
            raise ConfinedLinkError("the error has no known code or rule") from error


class JobDone(msgspec.Struct, frozen=True, tag=True):
    """The work is done; `text` is what the command prints."""

    text: str


Message = Job | ShowStep | SayText | StageRequest | PlaceRequest | StageReply | JobFailed | JobDone
_DECODER: Final[msgspec.msgpack.Decoder[Message]] = msgspec.msgpack.Decoder(Message)


def send(link: socket.socket, message: Message) -> None:
    """Send a message; raise OSError if the other process is gone."""
    data = msgspec.msgpack.encode(message)
    link.sendall(_LENGTH.pack(len(data)) + data)


def receive(link: socket.socket) -> Message | None:
    """Return the next message, or None at the end of the link.

    Raise ConfinedLinkError if it is not a message, TimeoutError if the link has a time-out and nothing comes within it.
    """
    head = _exactly(link, _LENGTH.size)
    if head is None:
        return None
    (size,) = _LENGTH.unpack(head)
    if size > _LARGEST:
        raise ConfinedLinkError(f"a message of {size} bytes")
    data = _exactly(link, size)
    if data is None:
        return None
    try:
        return _DECODER.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:  # also text that is not UTF-8
        raise ConfinedLinkError(f"not a message: {error}") from error


def _exactly(link: socket.socket, size: int) -> bytes | None:
    """Return the next `size` bytes, or None if the link ends before."""
    data = bytearray()
    while len(data) < size:
        try:
            block = link.recv(min(size - len(data), 1 << 20))
        except ConnectionError:
            return None
        if not block:
            return None
        data += block
    return bytes(data)
