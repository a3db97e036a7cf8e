"""The forms in which families of models write calls of tools, and how to recognise a family by its chat template.

Sources: the chat templates that the families publish with their checkpoints. The names are those of vLLM's
`--tool-call-parser`. Pure; what stands between the marks is read by `call_syntax.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from slipway.chat.call_syntax import (
    DEEPSEEK_BREAK,
    DEEPSEEK_CALL,
    DEEPSEEK_CALLS,
    ToolCall,
    read_deepseek_calls,
    read_gemma_calls,
    read_json_calls,
    read_mistral_calls,
)

NONE: Final = "none"  # as a parameter: calls are not recognised


@dataclass(frozen=True, slots=True)
class ToolFormat:
    """One form. `start` comes before calls and `end` after them, "" if only the end of the text does; `bare` says that
    a text that begins with a call needs no mark, `repeats` that a further `start` ends the calls before it.

    `read` returns the calls between the marks, or raises ValueError. `special` are tokens that the form consists of and
    that a tokenizer may leave out of texts. A template with all of `signs`, and none of `others`, is of this form.
    `plain_ids` are what the family's templates demand: nine letters and digits.
    """

    start: str
    end: str
    read: Callable[[str], list[ToolCall]]
    signs: Sequence[str]
    others: Sequence[str] = ()
    special: Sequence[str] = ()
    bare: bool = False
    repeats: bool = False
    plain_ids: bool = False


# Also what is read of a model that can write nothing but calls.
PLAIN_CALLS: Final = ToolFormat(
    "<|python_tag|>", "", read_json_calls, ("<|python_tag|>",), special=("<|python_tag|>",), bare=True
)
_BARS: Final = ToolFormat(
    "<|tool_call|>",
    "<|/tool_call|>",
    read_json_calls,
    ("<|tool_call|>",),
    special=("<|tool_call|>", "<|/tool_call|>"),
)
# In the order in which templates are looked at.
TOOL_FORMATS: Final[Mapping[str, ToolFormat]] = {
    "hermes": ToolFormat(
        "<tool_call>",
        "</tool_call>",
        read_json_calls,
        ("<tool_call>",),
        # Qwen3-Coder and GLM-4.5 write other things than JSON between the same marks.
        others=("<function=", "<arg_key>"),
        special=("<tool_call>", "</tool_call>"),
    ),
    "mistral": ToolFormat(
        "[TOOL_CALLS]",
        "",
        read_mistral_calls,
        ("[TOOL_CALLS]",),
        special=("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]"),
        repeats=True,
        plain_ids=True,
    ),
    "functiongemma": ToolFormat(
        "<start_function_call>",
        "<end_function_call>",
        read_gemma_calls,
        ("<start_function_call>",),
        special=("<start_function_call>", "<end_function_call>", "<escape>"),
    ),
    "deepseek_v3": ToolFormat(
        *DEEPSEEK_CALLS,
        read_deepseek_calls,
        DEEPSEEK_CALLS[:1],
        special=(*DEEPSEEK_CALLS, *DEEPSEEK_CALL, DEEPSEEK_BREAK),
    ),
    "granite": _BARS,
    "phi4_mini_json": ToolFormat(_BARS.start, _BARS.end, _BARS.read, ("<|tool|>",), special=_BARS.special),
    "llama3_json": PLAIN_CALLS,
}
# Templates of Llama 3.2 describe the form without its mark.
_ALSO: Final = {"llama3_json": ("<|start_header_id|>", '"parameters"')}


def recognise_tool_format(templates: Mapping[str, str], preferred: str = "") -> str:
    """Return the name of the form that templates are written for, "" if it is not known; the template with the name
    `preferred` is looked at first."""
    ordered = sorted(templates.items(), key=lambda item: (item[0] != preferred, item[0]))
    for _, template in ordered:
        for name, form in TOOL_FORMATS.items():
            if _all_in(form.signs, template) and not any(each in template for each in form.others):
                return name
        for name, signs in _ALSO.items():
            if _all_in(signs, template):
                return name
    return ""


def _all_in(signs: Sequence[str], template: str) -> bool:
    return all(sign in template for sign in signs)
