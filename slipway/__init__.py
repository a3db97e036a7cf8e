"""Slipway: from a trained transformer to a verified, tuned, running inference server.

Importing the package costs nothing: no module here imports a heavy library at the top level.
"""

__version__ = "0.1.0"
