"""The steps in the FasterTransformer example's README, executed one by one as written."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks.serving import RunningServer
from tests.kits.servers import served

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "fastertransformer_t5"
_BEFORE = ("pip install", "cd examples/")  # already done before the test


def steps() -> list[str]:
    """Return the README's commands."""
    lines = [line.strip() for line in (EXAMPLE / "README.md").read_text().splitlines() if line.startswith("    ")]
    return [line for line in lines if not line.startswith(_BEFORE)]


class Reader(ExitStack):
    """Executes the steps; keeps the working directory and the server that a step started (on free ports)."""

    server: RunningServer
    serving: str

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = self.here = folder
        self.answered: list[str] = []

    def take(self, step: str) -> None:
        words = shlex.split(step)
        match words:
            case ["cd", where]:
                self.here = (self.here / where).resolve()
            case ["slipway", "serve", repository]:
                self.serve(repository.removeprefix("--model-repository="))
            case ["slipway", *arguments]:
                self.run(shlex.join([sys.executable, "-m", "slipway", *arguments]))
            case ["python", "make_checkpoint.py", *arguments]:
                self.run(shlex.join([sys.executable, "make_checkpoint.py", *arguments]))
            case ["python", "end_to_end.py", *arguments]:
                url = self.server.grpc if "grpc" in arguments else self.server.http
                self.ask("end_to_end.py", *arguments, "-u", url, "-max_ite", "3")
            case ["python", "issue_request.py", file, *arguments]:
                self.issue(file, *arguments)
            case _:
                self.run(step)  # mv and rm, with a star that the shell understands

    def serve(self, repository: str) -> None:
        self.close()  # Ctrl-C
        self.serving = repository
        assert self.here == self.folder
        self.server = self.enter_context(served(Path(repository)))

    def issue(self, file: str, *arguments: str) -> None:
        flags = [word for word in arguments if word == "-t"]
        params = json.loads(arguments[-1]) if "--params" in arguments else {"config": {}}
        grpc = params["config"].get("protocol") == "grpc"
        params["config"]["url"] = self.server.grpc if grpc else self.server.http
        if "stream_api" in params["config"]:  # the README: add the policy to config.pbtxt
            with (self.folder / self.serving / "fastertransformer/config.pbtxt").open("a") as config:
                config.write("model_transaction_policy { decoupled: true }\n")
            self.serve(self.serving)
            params["config"]["url"] = self.server.grpc
        self.ask("issue_request.py", file, *flags, "--params", json.dumps(params))

    def ask(self, *words: str) -> None:
        self.run(shlex.join([sys.executable, *words]))
        self.answered.append(words[0])

    def run(self, command: str) -> None:
        environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_WAIT_POLICY": "PASSIVE"}
        shell = ["sh", "-c", command]
        done = subprocess.run(shell, cwd=self.here, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.capability("0.5")
def test_the_readmes_steps_lead_from_a_checkpoint_to_answers(tmp_path, monkeypatch):
    pytest.importorskip("sacrebleu")
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("t5-tiny", "1", "__pycache__"))
    monkeypatch.chdir(folder)
    with Reader(folder) as reader:
        for step in steps():
            reader.take(step.partition("     #")[0])
    assert reader.answered == ["end_to_end.py"] * 2 + ["issue_request.py"] * 3
