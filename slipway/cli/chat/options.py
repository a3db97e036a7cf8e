"""The options of `slipway chat`."""

from __future__ import annotations

import argparse
from typing import Any, Final

from slipway.cli.client_key import add_api_key
from slipway.cli.infer_parser import add_tls
from slipway.cli.parser import CommandParser, add_header
from slipway.cli.tls import DEFAULT_URL

_DESCRIPTION: Final = (
    "Talk to a model: one that a server has, or a checkpoint or repository, which is served for the time of the chat. "
    "Answers appear as they are generated; Ctrl-C stops an answer, Ctrl-D ends the chat. If standard input is not a "
    "terminal, each of its lines is a message."
)
_EPILOG: Final = (
    "A line that ends with a backslash goes on with the next one, and so do lines between two lines of three quotation "
    "marks. /help lists the commands of a chat. A model without a chat template continues each text, without history."
)
# Options that are sent to the server under their own names: name, type, placeholder, help text.
_SAMPLING: Final[tuple[tuple[str, type, str, str], ...]] = (
    ("max_tokens", int, "N", "maximum number of tokens of an answer (default: what the model has room for)"),
    ("temperature", float, "T", "sampling temperature; 0 takes the best token (default: the checkpoint's)"),
    ("top_p", float, "P", "sample among the best tokens of this probability (default: the checkpoint's)"),
    ("top_k", int, "K", "sample among this many tokens (default: the checkpoint's)"),
    ("min_p", float, "P", "least probability, relative to the best token's"),
    ("seed", int, "N", "seed of all answers (default: random)"),
    ("repetition_penalty", float, "X", "penalty on all tokens that have come, 1 for none"),
    ("frequency_penalty", float, "X", "penalty on generated tokens, as often as they have come"),
    ("presence_penalty", float, "X", "penalty on generated tokens"),
)


def chat_parser() -> CommandParser:
    """Return the parser of the options."""
    parser = CommandParser(prog="slipway chat", description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "target",
        metavar="MODEL|URL|SOURCE",
        nargs="?",
        help="name of a model of the server; the URL of a server, also of another kind that has OpenAI's API; or a "
        "directory or the id of a model on a hub (ORGANISATION/NAME) to serve (default: the only model of the server)",
    )
    parser.add_argument("--model", metavar="NAME", help="name of the model, if a URL or source has several")
    parser.add_argument(
        "--server",
        metavar="HOST:PORT",
        help=f"address of the server that has the model (default: {DEFAULT_URL['http']})",
    )
    parser.add_argument("--system", metavar="TEXT", help="system message, before the conversation")
    parser.add_argument("--stop", metavar="TEXT", action="append", help="text before which an answer ends (repeatable)")
    for name, kind, placeholder, text in _SAMPLING:
        parser.add_argument(f"--{name.replace('_', '-')}", metavar=placeholder, type=kind, help=text)
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="wait this long at most for a server that is starting (default: 0)",
    )
    add_header(parser)
    add_api_key(parser)
    add_tls(parser)
    return parser


def sampling_fields(options: argparse.Namespace) -> dict[str, Any]:
    """Return the fields of a request that the options set."""
    given = {name: getattr(options, name) for name, *_ in _SAMPLING}
    return {name: value for name, value in {**given, "stop": options.stop}.items() if value is not None}
