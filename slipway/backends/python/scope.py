"""The loaded Python model that the names of `triton_python_backend_utils` are bound to."""

from __future__ import annotations

from slipway.backends.python.errors import TritonModelException
from slipway.backends.python.server import ServerServices


class ModelScope:
    """One instance of a Python model: its server, its directories, and whether it may execute requests yet."""

    def __init__(
        self, server: ServerServices, instance_name: str, model_directory: str, version_directory: str
    ) -> None:
        self.server = server
        self.instance_name = instance_name
        self.model_directory = model_directory
        self.version_directory = version_directory
        self.serving = False

    def require_serving(self) -> ServerServices:
        """Return the server; raise `TritonModelException` outside `execute`, where Triton does not support BLS."""
        if not self.serving:
            raise TritonModelException("BLS is only supported during the 'execute' function.")
        return self.server
