"""The command table of `slipway`: finds the command, runs it, turns a known error into one line and exit code 1, and
Ctrl-C into exit code 130."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Final

from slipway import __version__
from slipway.cli.interruption import ended_by_sigint, exit_code
from slipway.errors import SlipwayError


@dataclass(frozen=True, slots=True)
class Command:
    """One command: `run(arguments) -> exit code` in `module`, imported when the command is used."""

    name: str
    module: str
    summary: str


_TENSOR2TENSOR: Final = "slipway.cli.tensor2tensor"
COMMANDS: Final = {
    command.name: command
    for command in (
        Command("serve", "slipway.cli.serve", "serve a model repository over HTTP and gRPC"),
        Command("proxy", "slipway.cli.proxy", "serve a REST API in front of a running server"),
        Command("infer", "slipway.cli.infer", "send text or tensors to a running server"),
        Command("chat", "slipway.cli.chat.command", "talk to a model in the terminal"),
        Command("convert", "slipway.cli.convert", "convert, optimise and verify a checkpoint"),
        Command("convert-module", "slipway.cli.convert_module", "convert a PyTorch script to ONNX and TensorRT"),
        Command("build-eclair", "slipway.cli.build_eclair", "build the page reader 'eclair' from its settings"),
        Command(
            "huggingface_t5_ckpt_convert",
            "slipway.cli.huggingface_t5_ckpt_convert",
            "convert a Hugging Face T5 to FasterTransformer",
        ),
        Command("t5_ckpt_convert", "slipway.cli.t5_ckpt_convert", "the same, in the layout of version 5.0 beta"),
        Command("lightseq", "slipway.cli.lightseq", "export models to LightSeq files"),
        Command("check", "slipway.cli.check", "find what is wrong or slow in a model repository"),
        Command("config", "slipway.cli.config", "create a config.pbtxt, or show the effective one"),
        Command("verify", "slipway.cli.verify", "send every model a sample and print PASS or FAIL"),
        Command("attack", "slipway.cli.attack", "attack a server on this machine; print what held"),
        Command("install-aliases", f"{_TENSOR2TENSOR}.install_aliases", "write launchers for the commands below"),
        # tensor2tensor's, in the order of their use
        Command("t2t-datagen", f"{_TENSOR2TENSOR}.datagen", "make a problem's vocabulary and training data"),
        Command("t2t-trainer", f"{_TENSOR2TENSOR}.trainer", "train a translation model"),
        Command("t2t-avg-all", f"{_TENSOR2TENSOR}.avg_all", "average the newest checkpoints of a training"),
        Command("t2t-decoder", f"{_TENSOR2TENSOR}.decoder", "translate a file with a trained model"),
        Command("t2t-bleu", f"{_TENSOR2TENSOR}.bleu", "compute the BLEU of a file of translations"),
        Command("t2t-exporter", f"{_TENSOR2TENSOR}.exporter", "write a trained model as a directory to compile"),
        Command("tritonc", f"{_TENSOR2TENSOR}.tritonc", "compile an export for the server"),
        Command("tritonserver", f"{_TENSOR2TENSOR}.tritonserver", "the same as serve"),
        Command("triton_client", f"{_TENSOR2TENSOR}.triton_client", "send the lines of a file to a running server"),
        Command("t2t-query-server", f"{_TENSOR2TENSOR}.query_server", "send one text to a running server"),
    )
}
ALIASED: Final = [  # the commands that `install-aliases` offers under their own names
    command.name
    for command in COMMANDS.values()
    if command.module.startswith(_TENSOR2TENSOR) and command.name != "install-aliases"
]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, or 1 with the cause on standard error."""
    if sys.platform == "win32":
        print("error: Slipway runs on Linux and macOS; on Windows, install it in WSL 2", file=sys.stderr)
        return 1
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
    try:
        with ended_by_sigint():
            run: Callable[[Sequence[str]], int] = import_module(command.module).run
        return run(words[1:])
    except (SlipwayError, OSError) as error:
        print("\n".join([f"error: {error}", *_ways(error)]), file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(": ".join(["interrupted", *map(str, interrupt.args)]), file=sys.stderr)
        return exit_code(interrupt)


def _ways(error: Exception) -> list[str]:
    """Return the fixes of the problems in an error, and the notes that a command added to it, one per line."""
    problems = error.problems if isinstance(error, SlipwayError) else ()
    fixes = [f"  fix: {problem.fix}" for problem in problems if problem.fix]
    return list(dict.fromkeys([*fixes, *(f"  {note}" for note in getattr(error, "__notes__", ()))]))


def _usage() -> str:
    lines = [f"  {command.name:<28} {command.summary}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "usage: slipway COMMAND [options]",
            "",
            *lines,
            "",
            "Run 'slipway COMMAND --help' for the options of a command.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
