"""The program that compiles one grammar, in a process of its own. Knows llguidance and nothing of the project.

What a client sends may take minutes or gigabytes to compile (`{"multipleOf": 1000003}`, repetitions inside
repetitions), or end the process (a chain of a thousand references overflows the stack), all inside one call: no thread
can be stopped there. So the process has a limit of memory, and a timer of the kernel that ends it. One JSON object
comes in, and one goes out.
"""

from __future__ import annotations

import contextlib
import json
import resource
import signal
import sys
import threading
from pathlib import Path
from typing import Any, Final

from llguidance import LLMatcher, LLParserLimits, LLTokenizer, regex_to_lark
from llguidance.gbnf_to_lark import any_to_lark

_STACK: Final = 4 << 20  # half of what a thread of the server usually has
_MOST_SHOWN: Final = 300  # characters of the library's message
_STUCK: Final = "NoExtension"  # the beginning of the library's message
_NO_DETAILS: Final = " <non-verbose/>"
_END: Final = 256


class ByteTokens:
    """A vocabulary of all bytes and an end token, in the form that LLTokenizer takes."""

    is_tokenizer_wrapper = True
    eos_token_id = _END
    bos_token_id = None
    tokens = (*(bytes([byte]) for byte in range(256)), b"<end>")
    special_token_ids = (_END,)

    def __call__(self, text: str | bytes) -> list[int]:
        """Return the tokens of a text."""
        return list(text if isinstance(text, bytes) else text.encode())


def part_of(kind: str, text: str) -> dict[str, Any]:
    """Return a grammar as a part of the library's own form."""
    if kind == "JSON schema":
        return {"json_schema": json.loads(text)}
    if kind == "regular expression":
        # Digits of ASCII only, so that whatever reads the text later takes them for digits.
        return {"lark_grammar": f"start: /{regex_to_lark(text, 'd')}/"}
    if kind == "list of choices":
        return {"lark_grammar": "start: " + " | ".join(map(quoted, json.loads(text)))}
    return {"lark_grammar": any_to_lark(text)}


def quoted(text: str) -> str:
    """Return a text as a Lark string: what cannot be printed is escaped."""
    written = json.dumps(text, ensure_ascii=False)
    return "".join(each if each.isprintable() or each > "\uffff" else f"\\u{ord(each):04x}" for each in written)


def problem_of(part: dict[str, Any], options: dict[str, Any], limits: dict[str, int]) -> str:
    """Return why a grammar cannot be followed, "" if it can."""
    if isinstance(part.get("json_schema"), dict):
        part = {"json_schema": {**part["json_schema"], "x-guidance": options}}
    tokens = LLTokenizer(ByteTokens(), n_vocab=_END + 1, eos_token=[_END], slices=[])
    matcher = LLMatcher(
        tokens, json.dumps({"grammars": [part]}), log_level=0, limits=LLParserLimits(**limits, verbose_errors=False)
    )
    if matcher.is_error():
        return str(matcher.get_error())
    mask = matcher.compute_bitmask()
    found = str(matcher.get_error())
    return "no text satisfies it" if found.startswith(_STUCK) or not any(mask) else found


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Return the grammar in the library's form, or why it cannot be followed."""
    try:
        part = part_of(request["kind"], request["text"])
        problem = problem_of(part, request["options"], request["limits"])
    except Exception as error:  # noqa: BLE001  the library's reader of GBNF raises errors of its own
        problem = str(error) or type(error).__name__
    problem = " ".join(problem.split()).removesuffix(_NO_DETAILS)
    return {"problem": problem[:_MOST_SHOWN]} if problem else {"part": part}


def limit(memory: int, seconds: float) -> None:
    """Let the process take `memory` bytes more than it has, where the system supports that, and compute that long."""
    pages = Path("/proc/self/statm")
    taken = int(pages.read_text().split()[0]) * resource.getpagesize() if pages.exists() else 0
    with contextlib.suppress(ValueError, OSError):  # macOS
        resource.setrlimit(resource.RLIMIT_AS, (taken + memory, taken + memory))
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, seconds)  # nobody handles it: it ends the process


def main() -> None:
    """Answer the request on the standard input."""
    request = json.loads(sys.stdin.buffer.read())
    limit(request["memory"], request["seconds"])
    sys.stdout.write(json.dumps(answer(request)))


if __name__ == "__main__":
    threading.stack_size(_STACK)
    compiling = threading.Thread(target=main)
    compiling.start()
    compiling.join()
