"""The options of `slipway infer`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from slipway.cli.client_key import add_api_key
from slipway.cli.parser import CommandParser, add_header

DEFAULT_BATCH: Final = 16
_DESCRIPTION: Final = "Send text lines or JSON tensors to a running server and print the responses."
_JSON: Final = "print responses as JSON, one line per text, or per response of a decoupled model"
_EPILOG: Final = (
    "All other flags are parameters of the model, such as --max-new-tokens 20; 'slipway infer MODEL --help' lists "
    "those of a model that is being served."
)


def infer_parser(*, needs_input: bool = True) -> CommandParser:
    """Return the parser of the options; flags of models are split off before (model_flags.py). Without `needs_input`,
    no input has to be given."""
    usage = "%(prog)s [MODEL] (--text TEXT | --inputs JSON | --input-file FILE |\n"
    usage += "                     --request FILE) [options]"  # argparse would make one line of the group
    parser = CommandParser(prog="slipway infer", usage=usage, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="name of a loaded model (default: the one in the --request file)"
    )
    given = parser.add_mutually_exclusive_group(required=needs_input)
    given.add_argument("--text", action="append", help="text for the model's string input (repeatable)")
    given.add_argument("--inputs", metavar="JSON", help="tensors by name, such as '{\"x\": [[1, 2]]}'")
    given.add_argument(
        "--input-file",
        metavar="FILE",
        type=Path,
        help="file with one text per line, or with tensors by name if it ends in .json",
    )
    given.add_argument(
        "--request", metavar="FILE", type=Path, help="JSON request file of FasterTransformer's issue_request.py"
    )
    parser.add_argument(
        "--params", metavar="JSON", default="", help="changes to merge into the --request file before it is sent"
    )
    parser.add_argument(
        "-t", "--test-growth", action="store_true", help="fail unless every streamed response adds exactly one token"
    )
    parser.add_argument(
        "--output-file",
        metavar="FILE",
        type=Path,
        help="file for the responses, one line per text (default: standard output)",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help=_JSON,
    )
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print for each request where its time went: batch, queue, compute, instance, and what it waited for",
    )
    parser.add_argument(
        "--url", metavar="HOST:PORT", help="address of the server (default: localhost:8001, or localhost:8000 for HTTP)"
    )
    parser.add_argument(
        "--protocol",
        choices=("grpc", "http"),
        help="protocol; http needs the extra 'http' (default: grpc, or the one in the --request file)",
    )
    add_header(parser)
    add_api_key(parser)
    add_tls(parser)
    parser.add_argument(
        "--model-version", metavar="N", default="", help="version of the model (default: set by its version policy)"
    )
    parser.add_argument(
        "--batch", metavar="ROWS", type=int, help=f"maximum texts per request (default: {DEFAULT_BATCH})"
    )
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=float,
        default=0.0,
        help="wait this long at most for a server that is starting (default: 0)",
    )
    return parser


def check_combination(parser: CommandParser, options: argparse.Namespace) -> None:
    """Exit with an error if an option is given that has no effect on what is sent or printed."""
    if options.request is None:
        for flag, value in (("--params", options.params), ("-t/--test-growth", options.test_growth)):
            if value:
                parser.error(f"argument {flag}: needs argument --request")
    else:
        for flag, value in (("--output-file", options.output_file), ("--batch", options.batch)):
            if value is not None:
                parser.error(f"argument {flag}: not allowed with argument --request")
    if gives_tensors(options) and options.batch is not None:
        parser.error("argument --batch: not allowed with tensors, which are sent as one request")


def gives_tensors(options: argparse.Namespace) -> bool:
    """Return whether the input is tensors by name, not texts."""
    return options.inputs is not None or bool(options.input_file and options.input_file.suffix == ".json")


def add_tls(parser: CommandParser) -> None:
    """Add the options of encrypted connections."""
    group = parser.add_argument_group("encrypted connections", "https:// in --url, or any of these, means TLS")
    group.add_argument("--ssl", action="store_true", help="encrypt the connection (TLS)")
    group.add_argument(
        "--ca-certificate",
        "--cacert",
        "--root-certificates",
        metavar="FILE",
        type=Path,
        help="PEM file of the authorities to trust (default: those of the system)",
    )
    group.add_argument(
        "--client-certificate",
        "--cert",
        "--certificate-chain",
        metavar="FILE",
        type=Path,
        help="PEM file of the certificate that identifies this client",
    )
    group.add_argument(
        "--client-key",
        "--key",
        "--private-key",
        metavar="FILE",
        type=Path,
        help="PEM file of the private key of that certificate (default: in the certificate's file)",
    )
    group.add_argument(
        "-k", "--insecure", action="store_true", help="accept any certificate of the server, trusted or not"
    )
