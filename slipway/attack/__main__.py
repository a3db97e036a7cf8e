"""`python -m slipway.attack`: the same as `slipway attack`."""

import sys

from slipway.cli.main import main

sys.exit(main(["attack", *sys.argv[1:]]))
