"""The options of `slipway infer`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from slipway.cli.parser import CommandParser

_BATCH: Final = 16
_DESCRIPTION: Final = "Send text lines or JSON tensors to a running server and print the responses."
_JSON: Final = "print responses as JSON, one line per text, or per response of a decoupled model"
_EPILOG: Final = (
    "All other flags are parameters of the model, such as --max-new-tokens 20; 'slipway infer MODEL --help' lists "
    "those of a model that is being served."
)


def infer_parser() -> CommandParser:
    """Return the parser of the options; flags of models are split off before (model_flags.py)."""
    usage = "%(prog)s [MODEL] (--text TEXT | --inputs JSON | --input-file FILE |\n"
    usage += "                     --request FILE) [options]"  # argparse would make one line of the group
    parser = CommandParser(prog="slipway infer", usage=usage, description=_DESCRIPTION, epilog=_EPILOG)
    parser.add_argument(
        "model", metavar="MODEL", nargs="?", help="name of a loaded model (default: the one in the --request file)"
    )
    given = parser.add_mutually_exclusive_group(required=True)
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
        help="print responses as JSON, one line per text, or per response of a decoupled model",
    )
    parser.add_argument(
        "--url", metavar="HOST:PORT", help="address of the server (default: localhost:8001, or localhost:8000 for HTTP)"
    )
    parser.add_argument(
        "--protocol",
        choices=("grpc", "http"),
        help="protocol; http needs the extra 'http' (default: grpc, or the one in the --request file)",
    )
    _add_tls(parser)
    parser.add_argument(
        "--model-version", metavar="N", default="", help="version of the model (default: set by its version policy)"
    )
    parser.add_argument(
        "--batch", metavar="ROWS", type=int, default=_BATCH, help=f"maximum texts per request (default: {_BATCH})"
    )
    return parser


def _add_tls(parser: CommandParser) -> None:
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
        help="PEM file of its key (default: in the same file)",
    )
    group.add_argument(
        "-k", "--insecure", action="store_true", help="accept any certificate of the server, trusted or not"
    )
