"""Find what is wrong or slow in a model repository, and fix what can be fixed safely.

Model files are opened. If a Python model declares no inputs or outputs, its auto_complete_config is run in a separate
process.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path

from slipway.cli.output import for_reading, others_on_stderr
from slipway.cli.parser import CommandParser
from slipway.lint.check import Report, check_repository
from slipway.lint.fixing import Change, plan_changes, write_change
from slipway.lint.printing import report_document, report_text
from slipway.machine import Machine
from slipway.problems import Rule


def run(arguments: Sequence[str]) -> int:
    """Check, fix on request, print; return 1 if errors remain, else 0."""
    options = check_parser().parse_args(arguments)
    if options.rules:
        print(for_reading("\n".join(f"{rule:<32} {rule.sentence}" for rule in Rule)))
        return 0
    if options.repository is None:
        check_parser().error("the following arguments are required: REPOSITORY")
    if options.dry_run and not options.fix:
        check_parser().error("--dry-run requires --fix")
    logging.getLogger("slipway").addHandler(logging.NullHandler())  # the findings already say what the log would
    with others_on_stderr():
        report, changes = _report(options)
    if options.json:
        print(json.dumps(report_document(report, changes, written=not options.dry_run), indent=2))
    else:
        print("".join(f"{change.diff}\n" for change in changes), end="")
        print(for_reading(report_text(report, colour=_colour(refused=options.no_color))))
    return 1 if report.errors else 0


def _report(options: Namespace) -> tuple[Report, list[Change]]:
    """Return the report, after the changes if any were written, and the changes that were or would be written."""
    machine = Machine.here()
    report = check_repository(options.repository, machine)
    changes = plan_changes(report.findings) if options.fix else []
    if changes and not options.dry_run:
        for change in changes:
            write_change(change)
        report = check_repository(options.repository, machine)
    return report, changes


def check_parser() -> CommandParser:
    """Return the parser of the options."""
    parser = CommandParser(prog="slipway check", description=__doc__)
    parser.add_argument(
        "repository", metavar="REPOSITORY", type=Path, nargs="?", help="model repository, or the directory of one model"
    )
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--fix", action="store_true", help="apply the safe fixes and show them as a diff")
    parser.add_argument("--dry-run", action="store_true", help="with --fix, show the changes but write nothing")
    parser.add_argument(
        "--no-color", action="store_true", help="print without colours (default: coloured on a terminal)"
    )
    parser.add_argument("--rules", action="store_true", help="list the rules and exit")
    return parser


def _colour(*, refused: bool) -> bool:
    return sys.stdout.isatty() and not refused and not os.environ.get("NO_COLOR")
