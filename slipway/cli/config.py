"""Create a config.pbtxt for a model or a pipeline, or show the configuration that a server uses."""

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
    """Create or show a configuration; return 0 on success."""
    options = config_parser().parse_args(arguments)
    logging.getLogger("slipway").addHandler(logging.NullHandler())  # the result shows what was completed
    return _show(options) if options.action == "show" else _create(options)


def config_parser() -> CommandParser:
    """Return the parser of both actions."""
    parser = CommandParser(prog="slipway config", description=__doc__)
    actions = parser.add_subparsers(dest="action", required=True, metavar="create|show")
    create = actions.add_parser(
        "create",
        help="write a complete, commented config.pbtxt",
        description="Write a complete, commented config.pbtxt for a model, or for an ensemble of models.",
    )
    what = create.add_mutually_exclusive_group(required=True)
    what.add_argument("path", metavar="PATH", type=Path, nargs="?", help="model file, or the directory of a model")
    what.add_argument(
        "--pipeline",
        metavar="DIR",
        type=Path,
        nargs="+",
        help="directories of the models of an ensemble, in the order in which they run",
    )
    create.add_argument(
        "--name", default="", help="name of the model or ensemble (default: the name of the model's directory or file)"
    )
    create.add_argument(
        "--max-batch-size", metavar="B", type=int, help="maximum rows per batch; 0 for no batching (default: 8)"
    )
    create.add_argument("--output", metavar="FILE", type=Path, help="file to write (default: standard output)")
    create.add_argument("--overwrite", action="store_true", help="replace the file if it exists")
    show = actions.add_parser(
        "show",
        help="print a model's configuration as a server uses it",
        description="Print a model's configuration as a server uses it, completed and with defaults.",
    )
    show.add_argument("model", metavar="MODEL_DIR", type=Path, help="directory of the model")
    show.add_argument("--json", action="store_true", help="print JSON, as GET /v2/models/NAME/config does")
    return parser


def _create(options: Namespace) -> int:
    machine = Machine.here()
    if options.output is not None and options.output.exists() and not options.overwrite:
        raise invalid(f"'{options.output}' already exists; --overwrite replaces it")
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
        raise invalid("--max-batch-size does not apply to a pipeline, whose models set it; omit it")
    return draft_pipeline([_whole_model(path, machine).config for path in options.pipeline], options.name)


def _whole_model(path: Path, machine: Machine) -> Model:
    """Return a model with its completed config; raise INVALID_ARG with everything that prevents completion."""
    if not path.is_dir():
        raise invalid(f"'{path}' is not a directory; specify the directory of a model")
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
