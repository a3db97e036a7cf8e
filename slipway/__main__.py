"""`python -m slipway`: the same as the `slipway` command."""

import sys

from slipway.cli.main import main

sys.exit(main())
