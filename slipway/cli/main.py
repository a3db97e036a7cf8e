"""The command table of `slipway`: finds the command, runs it, turns a known error into one line and exit code 1."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from slipway import __version__
from slipway.errors import SlipwayError


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `run(arguments) -> exit code` in `module`, imported when the command is used."""

    name: str
    module: str
    summary: str


COMMANDS: Final = {
    command.name: command
    for command in (
        Command("serve", "slipway.cli.serve", "serve a model repository over HTTP and gRPC"),
        Command("infer", "slipway.cli.infer", "send text or tensors to a running server"),
        Command("convert", "slipway.cli.convert", "turn a checkpoint into a verified, optimised model repository"),
        Command("convert-module", "slipway.cli.convert_module", "turn a PyTorch script and its weights into models"),
        Command(
            "huggingface_t5_ckpt_convert",
            "slipway.cli.huggingface_t5_ckpt_convert",
            "turn a Hugging Face T5 into a FasterTransformer checkpoint",
        ),
        Command(
            "t5_ckpt_convert", "slipway.cli.t5_ckpt_convert", "the same in the layout of FasterTransformer 5.0 beta"
        ),
        Command("lightseq", "slipway.cli.lightseq", "export models to LightSeq files"),
        Command("check", "slipway.cli.check", "find what is wrong or slow in a model repository"),
        Command("config", "slipway.cli.config", "create a config.pbtxt, or show the one that is in force"),
        Command("verify", "slipway.cli.verify", "send every model an example and print PASS or FAIL"),
    )
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 1 with the cause on standard error."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and words[0] in ("--version", "-V"):
        print(f"slipway {__version__}")
        return 0
    if not words or words[0] in ("--help", "-h", "help"):
        print(_usage())
        return 0 if words else 1
    command = COMMANDS.get(words[0])
    if command is None:
        print(f"error: unknown command '{words[0]}'\n{_usage()}", file=sys.stderr)
        return 1
    run: Callable[[Sequence[str]], int] = import_module(command.module).run
    try:
        return run(words[1:])
    except (SlipwayError, OSError) as error:
        print("\n".join([f"error: {error}", *_ways(error)]), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130  # what a shell expects of a command ended by Ctrl-C


def _ways(error: Exception) -> list[str]:
    """Return what to do about the problems that an error carries, a line for each."""
    problems = error.problems if isinstance(error, SlipwayError) else ()
    return list(dict.fromkeys(f"  fix: {problem.fix}" for problem in problems if problem.fix))


def _usage() -> str:
    lines = [f"  {command.name:<28} {command.summary}" for command in COMMANDS.values()]
    return "\n".join(
        ["usage: slipway COMMAND [options]", "", *lines, "", "slipway COMMAND --help lists a command's options."]
    )


if __name__ == "__main__":
    sys.exit(main())
