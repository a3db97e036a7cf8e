"""The repository agents that a configuration names: `checksum` is known, no other.

Parameters and texts are those of triton-inference-server/checksum_repository_agent: `MD5:path/in/the/model` -> digest.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.problems import FieldPath, Problem, Rule

CHECKSUM: Final = "checksum"
_MD5: Final = "md5"
_PATH: Final[FieldPath] = ("model_repository_agents",)


def agent_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield what is wrong with the agents: a model that needs one to check its files is not served without it."""
    for agent in config.model_repository_agents.agents:
        if agent.name != CHECKSUM:
            text = f"unable to find repo agent '{agent.name}' for {config.name}: only '{CHECKSUM}' is supported"
            yield Problem(Rule.REPOSITORY_AGENT, text, _PATH, "remove the agents")
            continue
        for key in sorted(agent.parameters):
            algorithm, colon, name = key.partition(":")
            if not colon:
                yield Problem(Rule.REPOSITORY_AGENT, f"failed to parse key: {key}", _PATH, "write 'MD5:path'")
            elif algorithm.lower() != _MD5:
                text = f"Unsupported checksum algorithm: {algorithm}"
                yield Problem(Rule.REPOSITORY_AGENT, text, _PATH, "use MD5")
            elif leaves_directory(name):
                text = f"checksum file '{name}' must stay within the model directory for {config.name}"
                yield Problem(Rule.FILE_OUTSIDE, text, _PATH, "name a file in the model's directory")


def checksums(config: model_config_pb2.ModelConfig) -> Iterator[tuple[str, str]]:
    """Yield (path inside the model, MD5 digest in hexadecimal) of a configuration whose agents have no problems."""
    for agent in config.model_repository_agents.agents:
        for key in sorted(agent.parameters):
            yield key.partition(":")[2], agent.parameters[key]


def leaves_directory(name: str) -> bool:
    """Return whether a file name is absolute, contains '..' or is invalid."""
    path = PurePosixPath(name)
    return path.is_absolute() or ".." in path.parts or "\0" in name
