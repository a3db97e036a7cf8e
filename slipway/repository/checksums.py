"""Checks the files of a model against the checksums in its configuration, as Triton's checksum agent does."""

from __future__ import annotations

import hashlib
from pathlib import Path

from tritonclient.grpc import model_config_pb2

from slipway.config.agents import agent_problems, checksums
from slipway.errors import invalid, refused

_PIECE = 1 << 20  # bytes that are hashed at a time


def check_checksums(config: model_config_pb2.ModelConfig, directory: Path) -> None:
    """Raise INVALID_ARG if a file of a model has another checksum than its configuration says, or cannot be read, or if
    the configuration names agents that do not exist."""
    if not config.HasField("model_repository_agents"):
        return
    problems = list(agent_problems(config))
    if problems:
        raise refused(*problems)
    for name, expected in checksums(config):
        try:
            found = md5_of(directory / name).hex()
        except OSError as error:
            raise invalid(f"failed to open text file for read {name}: {error.strerror}") from error
        if found != expected:
            raise invalid(f"Mismatched MD5 hash for file {name}, expect: {expected}, got: {found}")


def md5_of(path: Path) -> bytes:
    """Return the MD5 digest of a file, which finds damage but no forgery."""
    digest = hashlib.md5(usedforsecurity=False)
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.digest()
