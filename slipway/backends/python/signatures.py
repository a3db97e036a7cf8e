"""The arguments of the classes and functions that Triton's stub implements in C++: checked, and refused in its words.

The stub is built with pybind11, whose errors list what a function takes and what it was given. A `Signature` holds the
list as text, and for each parameter whether it accepts a value; the rules are pybind11's (`cast.h`): a number is any
object with `__index__` in the range of the C++ type, a text is `str` or `bytes`, a list is any sequence but a text.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Final, SupportsIndex

Accepts = Callable[[Any], bool]
_ABSENT: Final = object()


@dataclass(frozen=True, slots=True)
class StubParameter:
    """One parameter: `accepts` says whether it can have a value. Without a name it is only given by position."""

    name: str
    accepts: Accepts
    default: Any = _ABSENT


class Signature:
    """A function, or a constructor (`__init__`), and its parameters without `self`.

    `listed` is how pybind11 writes them. A caller takes `*given, **named`, so that it sees the arguments as they were
    written.
    """

    def __init__(self, name: str, listed: str, *parameters: StubParameter) -> None:
        self._name = name
        self._listed = listed
        self._parameters = parameters
        self._kind = "constructor" if name == "__init__" else "function"

    def bind(self, owner: Sequence[Any], given: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """Return the value of each parameter; raise TypeError in pybind11's words.

        `owner` holds the `self` of a method, which is shown; a constructor's is not.
        """
        parameters = self._parameters
        values = list(given)
        used = 0
        for parameter in parameters[len(given) :]:
            if parameter.name in named:
                values.append(named[parameter.name])
                used += 1
            else:
                values.append(parameter.default)
        if len(values) != len(parameters) or used != len(named):
            raise self.refusal(owner, given, named)
        for parameter, value in zip(parameters, values, strict=True):
            if value is _ABSENT or (value is not parameter.default and not parameter.accepts(value)):
                raise self.refusal(owner, given, named)
        return values

    def refusal(self, owner: Sequence[Any], given: Sequence[Any], named: Mapping[str, Any]) -> TypeError:
        """Return the error for these arguments."""
        shown = ", ".join(map(repr, (*owner, *given)))
        words = ", ".join(f"{name}={value!r}" for name, value in named.items())
        invoked = "; ".join(filter(None, (shown, f"kwargs: {words}" if named else "")))
        return TypeError(
            f"{self._name}(): incompatible {self._kind} arguments. The following argument types are supported:\n"
            f"    1. {self._listed}\n\nInvoked with: {invoked}"
        )


class Native:
    """An object of a class that the stub implements: it is shown under Triton's name."""

    __slots__ = ()
    native_name: ClassVar[str]

    def __repr__(self) -> str:
        return f"<c_python_backend_utils.{self.native_name} object at {id(self):#x}>"


def uncastable() -> RuntimeError:
    """Return the error for a value that the stub finds unusable only after it has accepted the arguments."""
    return RuntimeError(
        "Unable to cast Python instance to C++ type (#define PYBIND11_DETAILED_ERROR_MESSAGES or compile in debug mode "
        "for details)"
    )


def decoded(value: str | bytes) -> str:
    """Return a text as `str`."""
    return value if isinstance(value, str) else value.decode()


# What parameters accept


def anything(_: Any) -> bool:
    """Accept every object (py::object)."""
    return True


def text(value: Any) -> bool:
    """Accept `std::string`."""
    return isinstance(value, str | bytes)


def whole(low: int, high: int) -> Accepts:
    """Return what accepts the whole numbers from `low` to `high`."""

    def accepts(value: Any) -> bool:
        return isinstance(value, SupportsIndex) and low <= value.__index__() <= high

    return accepts


def real(value: Any) -> bool:
    """Accept `double`."""
    return hasattr(value, "__float__") or isinstance(value, SupportsIndex)


def truth(value: Any) -> bool:
    """Accept `bool`, and every object but None that defines its truth."""
    return value is not None and hasattr(value, "__bool__")


def an(kind: type) -> Accepts:
    """Return what accepts the instances of a class."""
    return lambda value: isinstance(value, kind)


def optional(accepts: Accepts) -> Accepts:
    """Return what accepts None too."""
    return lambda value: value is None or accepts(value)


def sequence_of(accepts: Accepts) -> Accepts:
    """Return what accepts `std::vector`."""

    def accepted(value: Any) -> bool:
        if isinstance(value, str | bytes | Mapping) or not (
            hasattr(value, "__getitem__") and hasattr(value, "__len__")
        ):
            return False
        return all(map(accepts, value))

    return accepted


UINT32: Final = whole(0, 2**32 - 1)
UINT64: Final = whole(0, 2**64 - 1)
INT64: Final = whole(-(2**63), 2**63 - 1)
