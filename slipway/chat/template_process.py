"""The program that evaluates chat templates, in a process of its own. Knows jinja2 and nothing of the project.

A template is code, and much of what it can write takes for ever or all memory inside one call (`"x" * 10 ** 9`,
`10 ** 10 ** 9`, loops inside loops): no thread can be stopped there. So the process has a limit of memory, and a timer
of the kernel that ends it, whether or not the server still lives. The sandbox and the functions that a template may
call are those of `apply_chat_template` of transformers. One JSON object a line comes in and goes out.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import socket
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

import jinja2
from jinja2.ext import Extension, loopcontrols
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace

REFUSED: Final = "refused"  # by raise_exception: the conversation is not one that the template takes
FAILED: Final = "failed"  # while it was evaluated
BROKEN: Final = "broken"  # it cannot be compiled, or does what the sandbox forbids
TOO_LONG: Final = "too long"
NO_MEMORY: Final = "no memory"
_MOST_SHOWN: Final = 500  # characters of a template's own message


class RefusedConversationError(jinja2.TemplateError):
    """The template called raise_exception."""


class TextTooLongError(Exception):
    """The text has more characters than asked for."""


class GenerationBlock(Extension):
    """`{% generation %}` marks what the model has written, for training: here its contents are text like any other."""

    tags = {"generation"}  # noqa: RUF012  jinja2 declares it so

    def parse(self, parser: Any) -> jinja2.nodes.Node:
        """Return the contents, with variables of their own."""
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return jinja2.nodes.Scope(body, lineno=line)


class PlainNamespace(Namespace):
    """`namespace(...)` without names that begin with an underscore."""

    def __init__(*arguments: Any, **named: Any) -> None:  # so that `self` may be among the names
        self, given = arguments[0], dict(*arguments[1:], **named)
        for name in given:
            check_name(name)
        Namespace.__init__(self, given)

    def __setitem__(self, name: str, value: Any) -> None:
        check_name(name)
        super().__setitem__(name, value)


def check_name(name: object) -> None:
    """Raise for a name that begins with an underscore."""
    if isinstance(name, str) and name.startswith("_"):
        raise jinja2.exceptions.SecurityError(f"a namespace cannot have the attribute '{name}'")


def raise_exception(message: object) -> None:
    """Refuse the conversation."""
    raise RefusedConversationError(str(message))


def tojson(
    value: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None, sort_keys: bool = False
) -> str:
    """Return JSON that is not escaped for HTML, unlike jinja2's own filter."""
    return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)


def plain_dict(*arguments: Any, **named: Any) -> dict[Any, Any]:
    """Return a dictionary; a class would have attributes that lead elsewhere."""
    return dict(*arguments, **named)


def strftime_now(form: str) -> str:
    """Return the local time."""
    return datetime.now().strftime(form)  # noqa: DTZ005  as transformers


@lru_cache(maxsize=32)
def compiled(template: str) -> jinja2.Template:
    """Return a template that is ready to be evaluated."""
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[GenerationBlock, loopcontrols]
    )
    del environment.globals["lipsum"]
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "strftime_now": strftime_now,
        "dict": plain_dict,
        "namespace": PlainNamespace,
    }
    return environment.from_string(template)


def rendered(template: str, variables: dict[str, Any], most: int) -> str:
    """Return the text of a template; raise `TextTooLongError` beyond `most` characters."""
    pieces, length = [], 0
    for piece in compiled(template).generate(variables):
        length += len(piece)
        if length > most:
            raise TextTooLongError
        pieces.append(piece)
    text = "".join(pieces)
    text.encode()  # a template may make surrogates of its own
    return text


def answer(request: dict[str, Any]) -> dict[str, str]:
    """Return the text, or what went wrong and a message."""
    try:
        return {"text": rendered(request["template"], request["variables"], request["most"])}
    except RefusedConversationError as error:
        return problem(REFUSED, error)
    except (jinja2.TemplateSyntaxError, jinja2.exceptions.SecurityError) as error:
        return problem(BROKEN, error)
    except TextTooLongError:
        return {"problem": TOO_LONG, "message": ""}
    except MemoryError:
        return {"problem": NO_MEMORY, "message": ""}
    except Exception as error:  # noqa: BLE001  a template's expressions may raise anything
        return problem(FAILED, error)


def problem(kind: str, error: Exception) -> dict[str, str]:
    """Return a failure with the beginning of its message."""
    message = str(error) or type(error).__name__
    return {"problem": kind, "message": message[:_MOST_SHOWN].encode(errors="replace").decode()}


def limit_memory(most: int) -> None:
    """Let the process take `most` bytes more than it has, where the system supports that."""
    pages = Path("/proc/self/statm")
    taken = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    with contextlib.suppress(ValueError, OSError):  # macOS
        resource.setrlimit(resource.RLIMIT_AS, (taken + most, taken + most))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def serve(channel: socket.socket) -> None:
    """Answer requests until the other end closes the connection."""
    with channel, channel.makefile("rb") as lines:
        for line in lines:
            request = json.loads(line)
            signal.setitimer(signal.ITIMER_REAL, request["seconds"])  # nobody handles it: it ends the process
            reply = json.dumps(answer(request)).encode() + b"\n"
            signal.setitimer(signal.ITIMER_REAL, 0)
            channel.sendall(reply)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # at the end of the server, which also gets it, the channel closes
    limit_memory(512 << 20)
    serve(socket.socket(fileno=0))
