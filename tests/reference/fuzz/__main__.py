"""Run the fuzz by hand: python -m tests.reference.fuzz --seconds 600 --seed 7."""

from __future__ import annotations

import argparse
import secrets
import sys
import tempfile
from pathlib import Path

from benchmarks.reference import CannotRunError
from tests.reference.fuzz.cases import KINDS, Case, whole_case
from tests.reference.fuzz.judge import compare, said
from tests.reference.fuzz.run import Finding, run
from tests.reference.fuzz.servers import Servers, shown


def main() -> int:
    """Run the fuzz, or one of its cases; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.reference.fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=secrets.randbelow(10**6), help="(default: drawn, and printed)")
    parser.add_argument("--seconds", type=float, default=60.0, help="how long to look (default: 60)")
    parser.add_argument("--kind", choices=sorted(KINDS), help="only cases of this kind (default: all)")
    parser.add_argument("--case", type=int, help="run this case only, and print its answers")
    parser.add_argument("--keep", help="with --case: the changes to keep, as in '0,2', or 'none' (default: all)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        try:
            servers = Servers(Path(directory))
            with servers:
                return _one(servers, _case(options)) if options.case is not None else _many(servers, options)
        except CannotRunError as error:
            print(f"the reference server cannot run here: {error}", file=sys.stderr)
            return 1


def _case(options: argparse.Namespace) -> Case:
    if options.keep is None:
        return whole_case(options.seed, options.case)
    kept = () if options.keep == "none" else tuple(map(int, options.keep.split(",")))
    return Case(options.seed, options.case, kept)


def _one(servers: Servers, case: Case) -> int:
    print(f"{case}   changes: {', '.join(case.changes) or 'none'}")
    unexplained = 0
    for step in case.steps(servers.signatures):
        ours, theirs = servers.ask(step)
        difference = compare(shown(step), ours, theirs)
        print(f"{shown(step)}\n  slipway:   {said(ours)}\n  reference: {said(theirs)}")
        if difference is not None and difference.foreseen is not None:
            print(f"  intended:  {difference.foreseen.reason}")
        unexplained += difference is not None and difference.foreseen is None
    return min(unexplained, 1)


def _print(finding: Finding) -> None:
    print(f"{finding}\n", flush=True)


def _many(servers: Servers, options: argparse.Namespace) -> int:
    print(f"seed {options.seed}, {options.seconds:.0f} s", flush=True)
    findings = run(servers, options.seed, options.seconds, kind=options.kind, note=_print)
    print("\n".join(findings.lines()))
    return 1 if findings.count else 0


if __name__ == "__main__":
    sys.exit(main())
