"""`slipway config`: create a config.pbtxt for a model or a pipeline, or show the one that is in force."""

from __future__ import annotations

import json
import logging
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from google.protobuf import text_format

from slipway.cli.output import others_on_stderr
from slipway.cli.parser import CommandParser
from slipway.config.render import config_object
from slipway.drafting.commented import config_text
from slipway.drafting.draft import Draft, draft_config
from slipway.drafting.pipeline import draft_pipeline
from slipway.errors import invalid
from slipway.lint.finding import Severity
from slipway.lint.fixing import write_text
from slipway.lint.model import Model
from slipway.lint.reading import read_model
from slipway.machine import Machine


def run(arguments: Sequence[str]) -> int:
    """Create or show a configuration; 0 on success."""
    options = _parser().parse_args(arguments)
    logging.getLogger("slipway").addHandler(logging.NullHandler())  # what is completed stands in the result
    return _show(options) if options.action == "show" else _create(options)


def _parser() -> CommandParser:
    parser = CommandParser(prog="slipway config", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|show")
    create = actions.add_parser("create", help="write a complete, commented config.pbtxt")
    what = create.add_mutually_exclusive_group(required=True)
    what.add_argument("path", metavar="PATH", type=Path, nargs="?", help="a model file, or a model's directory")
    what.add_argument(
        "--pipeline", metavar="DIR", type=Path, nargs="+", help="models' directories, in the order in which they run"
    )
    create.add_argument("--name", default="", help="name of the model; by default that of its directory or file")
    create.add_argument("--max-batch-size", metavar="B", type=int, help="rows that may run together; 0 for none [8]")
    create.add_argument("--output", metavar="FILE", type=Path, help="write to a file, not to standard output")
    create.add_argument("--overwrite", action="store_true", help="replace the file")
    show = actions.add_parser("show", help="print what a server makes of a model's config.pbtxt")
    show.add_argument("model", metavar="MODEL_DIR", type=Path, help="a model's directory")
    show.add_argument("--json", action="store_true", help="print JSON, as GET /v2/models/NAME/config does")
    return parser


def _create(options: Namespace) -> int:
    machine = Machine.here()
    if options.output is not None and options.output.exists() and not options.overwrite:
        raise invalid(f"'{options.output}' exists already; --overwrite replaces it")
    with others_on_stderr():
        draft = _draft(options, machine)
    text = config_text(draft, machine)
    if options.output is None:
        print(text, end="")
    else:
        write_text(options.output, text)
        print(f"wrote {options.output}; next: slipway check {options.output.resolve().parent}")
    return 0


def _draft(options: Namespace, machine: Machine) -> Draft:
    if options.max_batch_size is not None and options.max_batch_size < 0:
        raise invalid(f"--max-batch-size is {options.max_batch_size}; it must be 0 or more")
    if options.pipeline is None:
        return draft_config(options.path, machine, name=options.name, max_batch_size=options.max_batch_size)
    if not options.name:
        raise invalid("--pipeline needs a --name for the ensemble")
    if options.max_batch_size is not None:
        raise invalid("--max-batch-size is the models' own in a pipeline; leave it out")
    return draft_pipeline([_whole_model(path, machine).config for path in options.pipeline], options.name)


def _whole_model(path: Path, machine: Machine) -> Model:
    """Return a model with its completed config; raise INVALID_ARG with all that keeps it from being completed."""
    if not path.is_dir():
        raise invalid(f"'{path}' is no directory; give a model's directory")
    read = read_model(path, path.resolve().name, machine)
    errors = [finding for finding in read.findings if finding.severity is Severity.ERROR]
    if errors:
        raise invalid("\n".join(f"{finding.place} {finding.message}" for finding in errors))
    return read.model


def _show(options: Namespace) -> int:
    with others_on_stderr():
        config = _whole_model(options.model, Machine.here()).config
    if options.json:
        print(json.dumps(config_object(config), indent=2))
    else:
        print(text_format.MessageToString(config), end="")
    return 0
