"""Slipway: from a trained transformer to a verified, tuned, running inference server.

Importing the package is cheap: no module imports a heavy library at the top level.
"""

import os

__version__ = "0.1.0"

# Libraries that report to their vendors read these when they are imported, in child processes too. onnxruntime 1.31 and
# newer look up their vendor's host and write an identifier below the home directory; OpenVINO's and NNCF's telemetry is
# declared missing in backends/openvino/library.py. A value that the user has set stays.
for _variable in ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY"):
    os.environ.setdefault(_variable, "1")
