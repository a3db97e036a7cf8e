"""The headers that become parameters of inference requests: --http-header-forward-pattern and its twin for gRPC.

A pattern is a regular expression in RE2's syntax, as in tritonserver: it has to match a part of a header's name, and
letter case does not matter unless the pattern begins with `(?-i)`. RE2 takes time in proportion to the name, whatever
the pattern; Python's `re` may take for ever. The library (google-re2) is imported only if there is a pattern.
"""

from __future__ import annotations

from collections.abc import Iterable
from importlib.util import find_spec
from typing import Any, Final

from slipway.config.flags import Kind
from slipway.errors import invalid, shown
from slipway.installation import install_hint

# Parameters with a meaning of their own (Triton `src/common.h`, kReservedParameterKeys).
_RESERVED: Final = frozenset(
    {"sequence_id", "sequence_start", "sequence_end", "priority", "timeout", "headers", "binary_data_output"}
)
_RESERVED_PREFIX: Final = "triton_"
_MAX_REMEMBERED: Final = 1024  # names; a client that sends more is making them up
_MAX_NAME: Final = 128  # characters of a name that is remembered


class HeaderPattern:
    """A pattern, and the names that it was asked about before; `kept`, in lower case, are those of headers that are not
    forwarded although they match."""

    __slots__ = ("_expression", "_known", "kept", "text")

    def __init__(self, text: str, kept: frozenset[str] = frozenset()) -> None:
        import re2

        self.text = text
        self.kept = kept
        options = re2.Options()
        options.log_errors = False
        self._expression: Any = re2.compile(f"(?i){text}", options)
        self._known: dict[str, bool] = {}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, HeaderPattern) and (other.text, other.kept) == (self.text, self.kept)

    def __hash__(self) -> int:
        return hash(self.text)

    def __repr__(self) -> str:
        return f"HeaderPattern({self.text!r})"

    def without(self, names: Iterable[str]) -> HeaderPattern:
        """Return the pattern that does not forward headers of these names either."""
        return HeaderPattern(self.text, self.kept | {name.lower() for name in names})

    def matches(self, name: str) -> bool:
        """Return whether a header of this name is forwarded."""
        known = self._known.get(name)
        if known is None:
            known = name.lower() not in self.kept and self._expression.search(name) is not None
            if len(name) <= _MAX_NAME:
                if len(self._known) >= _MAX_REMEMBERED:
                    self._known.clear()
                self._known[name] = known
        return known

    def add(self, name: str, value: str | bytes, parameters: dict[str, Any]) -> None:
        """Add a header to a request's parameters if it matches; it replaces one of the same name. Raise INVALID_ARG,
        with Triton's text, if the name has a meaning of its own, and if the value is not UTF-8."""
        if not self.matches(name):
            return
        if name in _RESERVED or name.startswith(_RESERVED_PREFIX):
            raise invalid(f"Header '{shown(name)}' is reserved for Triton usage and cannot be forwarded.")
        if isinstance(value, bytes):
            try:
                value = value.decode()
            except UnicodeDecodeError:
                raise invalid(f"Header '{shown(name)}' is not UTF-8 and cannot be forwarded.") from None
        parameters[name] = value


def _read(text: str) -> HeaderPattern | None:
    if not text:
        return None
    if find_spec("re2") is None:
        raise ValueError(f"a pattern needs google-re2: {install_hint('headers')}")
    import re2

    try:
        return HeaderPattern(text)
    except UnicodeEncodeError:
        raise ValueError(f"{text!a} is not valid Unicode") from None
    except re2.error as error:
        reason = error.args[0].decode(errors="replace")
        raise ValueError(f"'{text}' is not a regular expression of RE2: {reason}") from None


PATTERN: Final = Kind("REGEX", _read)
