"""The image: its Dockerfile is sound, what it copies and installs exists, and its commands are those of the server."""

from __future__ import annotations

import json
import platform
import re
import subprocess
import sys
import tomllib
from collections.abc import Collection, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from importlib.metadata import Distribution, distribution
from pathlib import Path
from threading import Thread

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from slipway.config.options import parse_options

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
DOCKERFILE = DEPLOY / "Dockerfile"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
_BASE = 130e6  # bytes of python:3.12-slim, unpacked
HEALTH_CHECKS = {  # where it stands -> the port that it asks
    "image": 8000,
    "server": 8000,
    "proxy": 8005,
}


def instructions() -> list[tuple[str, str]]:
    """Return the instructions of the Dockerfile: name and rest, continued lines joined."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.startswith("#")]
    text = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def stages() -> list[list[tuple[str, str]]]:
    """Return the instructions of each stage, FROM first."""
    found: list[list[tuple[str, str]]] = []
    for name, rest in instructions():
        if name == "FROM":
            found.append([])
        found[-1].append((name, rest))
    return found


def only(stage: list[tuple[str, str]], name: str) -> str:
    (rest,) = [rest for each, rest in stage if each == name]
    return rest


def health_check(where: str) -> list[str]:
    """Return the command of a health check."""
    if where == "image":
        return json.loads(only(stages()[-1], "HEALTHCHECK").partition("CMD ")[2])
    services = yaml.safe_load((DEPLOY / "docker-compose.yaml").read_text())["services"]
    kind, *command = services[where]["healthcheck"]["test"]
    assert kind == "CMD"
    return command


def test_both_stages_have_the_same_python_which_the_package_supports():
    images = {only(stage, "FROM").split()[0] for stage in stages()}
    assert len(images) == 1
    version = re.fullmatch(r"python:(3\.\d+)-slim", images.pop())[1]
    assert f"Programming Language :: Python :: {version}" in PROJECT["classifiers"]
    paths = re.findall(r"lib/python(3\.\d+)/", DOCKERFILE.read_text())
    assert set(paths) == {version}


def test_what_the_build_copies_exists_and_is_sent_to_it():
    copied = [name for kind, rest in stages()[0] if kind == "COPY" for name in rest.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    rules = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert rules[0] == "**"
    assert {f"!{name}" for name in copied} == {rule for rule in rules if rule.startswith("!")}
    package = {"readme": "README.md", "license": "LICENSE"}  # what building the package reads
    assert {"pyproject.toml", "slipway", *package.values()} <= set(copied)


def test_the_extras_exist_and_leave_out_those_that_bring_torch():
    (arguments,) = [rest for name, rest in stages()[0] if name == "ARG"]
    extras = arguments.removeprefix("EXTRAS=").split(",")
    known = PROJECT["optional-dependencies"]
    assert set(extras) <= known.keys()
    assert not [each for name in extras for each in known[name] if re.match("torch|nncf|transformers", each)]
    constraints = (ROOT / "constraints.txt").read_text()
    assert re.search(r"^openvino==", constraints, re.MULTILINE)


def installed(names: list[str], seen: dict[str, Distribution]) -> dict[str, Distribution]:
    """Return the distributions that pip installs for requirements, by name; `seen` are those before."""
    for requirement in map(Requirement, names):
        name = canonicalize_name(requirement.name)
        if name not in seen and (requirement.marker is None or requirement.marker.evaluate()):
            seen[name] = distribution(name)
            installed(list(wanted(seen[name].requires or (), requirement.extras)), seen)
    return seen


def wanted(requirements: Iterable[str], extras: Collection[str]) -> Iterator[str]:
    """Yield the requirements of a distribution that are needed with these extras, without their markers."""
    for requirement in map(Requirement, requirements):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in ["", *extras]):
            requirement.marker = None
            yield str(requirement)


@pytest.mark.skipif(sys.platform != "linux", reason="the image is for Linux")
@pytest.mark.skipif(platform.machine() != "x86_64", reason="elsewhere, OpenVINO does not have what the image removes")
def test_the_image_has_less_than_600_megabytes():
    """The files of its packages as they are installed here, without those that it removes."""
    first = stages()[0]
    (arguments,) = [rest for name, rest in first if name == "ARG"]
    extras = arguments.removeprefix("EXTRAS=").split(",")
    known = PROJECT["optional-dependencies"]
    names = [*PROJECT["dependencies"], *(each for name in extras for each in known[name]), "openvino"]
    (removed,) = [rest.removeprefix("rm -f ").split() for _, rest in first if rest.startswith("rm -f ")]
    files = [file.locate() for each in installed(names, {}).values() for file in each.files or ()]
    assert len([file for file in files if file.name in removed and file.parent.name == "libs"]) == len(removed)
    kept = [file for file in files if file.name not in removed and file.is_file()]
    own = [file for file in (ROOT / "slipway").rglob("*") if file.is_file()]
    size = sum(file.stat().st_size for file in {*kept, *own})
    assert 300e6 < size < 600e6 - _BASE


def test_the_build_does_not_fail_where_openvino_has_nothing_to_remove(tmp_path):
    """Its packages for Arm do not have the files."""
    (command,) = [rest for _, rest in stages()[0] if rest.startswith("rm ")]
    assert subprocess.run(["sh", "-c", command], cwd=tmp_path, check=False).returncode == 0


def test_the_image_runs_as_a_user_without_rights_and_its_home_is_writable():
    last = stages()[-1]
    user, group = only(last, "USER").split(":")
    assert int(user) > 0
    assert int(group) > 0
    assert variables(last)["HOME"] == "/tmp"  # noqa: S108


def variables(stage: list[tuple[str, str]]) -> dict[str, str]:
    return dict(pair.split("=", 1) for pair in only(stage, "ENV").split())


def test_its_command_serves_on_every_port_that_it_exposes():
    last = stages()[-1]
    assert json.loads(only(last, "ENTRYPOINT")) == ["slipway"]
    command, *arguments = json.loads(only(last, "CMD"))
    assert command == "serve"
    options = parse_options(arguments, {name: value for name, value in variables(last).items() if name != "PATH"})
    assert options.model_repository == (Path("/models"),)
    addresses = {options.http_address, options.grpc_address, options.metrics_address}
    assert addresses == {"0.0.0.0"}  # noqa: S104
    assert not [warning for warning in options.warnings if "has no effect" in warning]
    ports = (options.http_port, options.grpc_port, options.metrics_port, options.proxy_port)
    assert [int(port) for port in only(last, "EXPOSE").split()] == list(ports)


def run(command: list[str], port: int, other: int) -> int:
    """Run a health check on another port and return its exit code."""
    assert command[0] == "python"
    (script,) = [word for word in command if f":{port}/" in word]
    words = [word.replace(f":{port}/", f":{other}/") if word == script else word for word in command[1:]]
    return subprocess.run([sys.executable, *words], capture_output=True, check=False, timeout=60).returncode


class Health(BaseHTTPRequestHandler):
    """Answers 503 to every request, as a server does that drains."""

    def do_GET(self):
        self.send_error(503)

    def log_message(self, *_):
        """Nothing."""


@pytest.mark.parametrize("where", HEALTH_CHECKS)
def test_a_health_check_fails_without_a_server_and_before_one_that_is_not_ready(where):
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        port = server.server_address[1]
        thread = Thread(target=server.serve_forever)
        thread.start()
        assert run(health_check(where), HEALTH_CHECKS[where], port) != 0
        server.shutdown()
        thread.join()
    assert run(health_check(where), HEALTH_CHECKS[where], port) != 0


@pytest.mark.parametrize("where", ["image", "server"])
def test_a_health_check_passes_on_a_server_that_is_ready(where, measured):
    assert run(health_check(where), HEALTH_CHECKS[where], int(measured.http.rpartition(":")[2])) == 0
