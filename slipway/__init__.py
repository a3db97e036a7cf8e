"""Slipway: from a trained transformer to a verified, tuned, running inference server.

Importing the package is cheap: no module imports a heavy library at the top level.
"""

__version__ = "0.1.0"
