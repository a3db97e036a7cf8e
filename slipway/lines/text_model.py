"""How lines fit a model: the string input that takes a line, the string output that has its result, and how many lines
a request may have. Read from the metadata and configuration that a server reports; knows no transport."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any, Final

from slipway.errors import SlipwayError, invalid

_TEXT: Final = "BYTES"
_INPUTS: Final = ("INPUT_TEXT", "text_input", "text", "TEXT", "prompt", "input")  # preferred among several
_OUTPUTS: Final = ("OUTPUT_TEXT", "text_output", "text", "TEXT", "generated_text", "output")
DEFAULT_ROWS: Final = 32


@dataclass(frozen=True, slots=True)
class TextModel:
    """A model that answers lines; a request has the shape [lines, *trailing], with at most `rows` lines (0: any)."""

    name: str
    version: str
    input_name: str
    output_name: str
    rows: int
    trailing: tuple[int, ...]
    single: bool  # the shape of a request is `trailing` alone, for one line

    def shape(self, lines: int) -> list[int]:
        """Return the shape of a request with this many lines."""
        return [*([] if self.single else [lines]), *self.trailing]

    def rows_of(self, values: Sequence[bytes], lines: int) -> list[list[bytes]]:
        """Return each line's values from those of a response; raise INVALID_ARG if they cannot be divided."""
        each, rest = divmod(len(values), lines)
        if rest:
            raise invalid(
                f"model '{self.name}' returned {len(values)} values of '{self.output_name}' for {lines} lines: send "
                "one line at a time, with --batch_size=1"
            )
        if each == 1:
            return [[value] for value in values]
        return [list(values[line * each : (line + 1) * each]) or [b""] for line in range(lines)]


def text_model(
    metadata: Mapping[str, Any],
    config: Mapping[str, Any],
    *,
    version: str = "",
    input_name: str = "",
    output_name: str = "",
) -> TextModel:
    """Return how lines fit the model; raise INVALID_ARG naming its tensors if they do not. `config` is empty if the
    server does not report one."""
    name = str(metadata.get("name", ""))
    if config.get("model_transaction_policy", {}).get("decoupled"):
        raise invalid(f"model '{name}' sends several responses per request, as streams do: use 'slipway infer {name}'")
    inputs = {each["name"]: each for each in metadata.get("inputs", ())}
    outputs = {each["name"]: each for each in metadata.get("outputs", ())}
    optional = {each.get("name") for each in config.get("input", ()) if each.get("optional")}
    chosen = _choose(name, "input", inputs, optional, input_name, _INPUTS)
    others = [f"{other} {each['datatype']}" for other, each in inputs.items() if other not in {chosen, *optional}]
    if others:
        raise invalid(f"model '{name}' also requires {', '.join(others)}, which a line of text does not have")
    shape = [int(size) for size in inputs[chosen].get("shape", ())]
    rows, trailing, single = _layout(name, chosen, shape, int(config.get("max_batch_size", 0)))
    result = _choose(name, "output", outputs, set(), output_name, _OUTPUTS)
    return TextModel(name, version, chosen, result, rows, trailing, single)


def _choose(
    model: str,
    kind: str,
    tensors: Mapping[str, Mapping[str, Any]],
    optional: set[Any],
    asked: str,
    preferred: Sequence[str],
) -> str:
    texts = [name for name, each in tensors.items() if each["datatype"] == _TEXT]
    declared = ", ".join(f"{name} {each['datatype']}" for name, each in tensors.items()) or "none"
    if asked:
        if asked in texts:
            return asked
        close = get_close_matches(asked, texts, 1)
        advice = f"; did you mean '{close[0]}'?" if close else ""
        raise invalid(f"model '{model}' does not have the string {kind} '{asked}'{advice} ({kind}s: {declared})")
    required = [name for name in texts if name not in optional]
    candidates = required or texts
    if len(candidates) == 1:
        return candidates[0]
    known = [name for name in preferred if name in candidates]
    if known:
        return known[0]
    raise _undecided(model, kind, candidates, declared)


def _undecided(model: str, kind: str, candidates: Sequence[str], declared: str) -> SlipwayError:
    if not candidates:
        return invalid(f"model '{model}' does not have a string {kind} ({kind}s: {declared})")
    return invalid(f"model '{model}' has {len(candidates)} string {kind}s: name one with --{kind}_name ({declared})")


def _layout(model: str, name: str, shape: Sequence[int], most: int) -> tuple[int, tuple[int, ...], bool]:
    """Return the limit of lines per request (0: none), the sizes after the batch axis, and whether there is none."""
    has_rows = most > 0 or shape[:1] == [-1]
    trailing = shape[1:] if has_rows else shape
    if any(size not in (1, -1) for size in trailing):
        raise invalid(f"input '{name}' of model '{model}' has the shape {list(shape)}: it takes more than one text")
    return (most if has_rows else 1), (1,) * len(trailing), not has_rows
