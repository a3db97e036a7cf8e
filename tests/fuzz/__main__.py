"""`python -m tests.fuzz`: run the targets for as long as you like."""

from __future__ import annotations

import argparse
import sys
import time


def main() -> int:
    """Run the named targets, or all of them, and return 1 if one of them found something."""
    if "--child" in sys.argv and "--builtin" not in sys.argv:
        import atheris

        with atheris.instrument_imports(include=["slipway"]):  # before anything else imports them
            from tests.fuzz.targets import TARGETS
    else:
        from tests.fuzz.targets import TARGETS
    from tests.fuzz.run import run_all, run_target, run_with_atheris

    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--target", action="append", choices=list(TARGETS), default=[], help="target (repeatable)")
    parser.add_argument("--seconds", type=float, default=60, help="seconds for each target (default: 60)")
    parser.add_argument("--seed", type=int, default=int(time.time()), help="seed of the mutations (default: the time)")
    parser.add_argument("--builtin", action="store_true", help="do not use atheris, even if it is installed")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if not options.child:
        return run_all(options.target, options.seconds, options.seed, builtin=options.builtin)
    run = run_target if options.builtin else run_with_atheris
    return run(TARGETS[options.target[0]], options.seconds, options.seed)


sys.exit(main())
