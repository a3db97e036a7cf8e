"""The application for uvicorn's own command: `uvicorn slipway.proxy.main:app --port 8005 --workers 2`.

Its options come from `SLIPWAY_PROXY_OPTIONS`.
"""

from __future__ import annotations

import os

from slipway.proxy.app import build_app
from slipway.proxy.options import options_of_line

app = build_app(options_of_line(os.environ.get("SLIPWAY_PROXY_OPTIONS", "")))
