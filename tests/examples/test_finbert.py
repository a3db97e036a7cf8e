"""The FinBERT example: the steps in its README, executed one by one as written, and its notebooks."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.kits.proxies import RunningProxy, started_proxy
from tests.kits.repositories import MINILM

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "finbert"
TEXT = "Stocks rallied and the British pound gained."
GOLDEN = [101, 15768, 24356, 1998, 1996, 2329, 9044, 4227, 1012, 102]
PORTS = {"HTTP_PORT": "8000", "GRPC_PORT": "8001", "METRICS_PORT": "8002", "PROXY_PORT": "8005"}
_BEFORE = ("pip install", "cd examples/")  # already done before the test
_BUILT = ("finbert-tiny", "finbert-wide", "model.onnx", "model.pt", "tokenizer_data", "__pycache__")


def steps() -> list[str]:
    """Return the README's commands."""
    lines = [line.strip() for line in (EXAMPLE / "README.md").read_text().splitlines() if line.startswith("    ")]
    return [line.partition("     #")[0] for line in lines if not line.startswith(_BEFORE)]


class Reader(ExitStack):
    """Executes the steps on ports that are free; what a start script started runs until the README is back here."""

    def __init__(self, folder: Path, scratch: Path) -> None:
        super().__init__()
        self.here = folder
        self.scratch = scratch
        self.ports = dict(zip(PORTS, free_ports(len(PORTS)), strict=True))
        self.running: RunningProxy | None = None
        self.printed: list[str] = []
        own = {"PYTHONPATH": str(ROOT), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
        folders = dict.fromkeys(("JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR", "IPYTHONDIR"), str(scratch / "jupyter"))
        quiet = {"OMP_WAIT_POLICY": "PASSIVE", "WORKERS": "1"}
        self.variables = own | folders | quiet | {name: str(port) for name, port in self.ports.items()}

    def take(self, step: str) -> None:
        """Execute one step; keep what it printed."""
        match step.split():
            case ["cd", where]:
                self.stop()  # Ctrl-C, before the next case begins
                self.here = (self.here / where).resolve()
            case [script] if script.endswith("start.sh"):
                port = self.ports["PROXY_PORT"]
                started = started_proxy([script], variables=self.variables, cwd=self.here, port=port)
                self.running = self.enter_context(started)
            case ["jupyter", "execute", notebook]:
                output = self.scratch / notebook
                self.run(f"{step} --output={output.with_suffix('')}")
                self.printed.append(outputs(json.loads(output.read_text())))
            case _:
                for name, port in PORTS.items():
                    step = step.replace(f"localhost:{port}", f"127.0.0.1:{self.ports[name]}")
                self.printed.append(self.run(step))

    def run(self, command: str) -> str:
        environment = os.environ | self.variables
        shell = ["sh", "-c", command]
        done = subprocess.run(shell, cwd=self.here, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def stop(self) -> None:
        if self.running is not None:
            assert self.running.stop() == 0
            self.running = None


def outputs(notebook: dict) -> str:
    """Return what the cells of an executed notebook printed."""
    streams = [each for cell in notebook["cells"] for each in cell.get("outputs", ()) if each["name"] == "stdout"]
    return "".join("".join(each["text"]) for each in streams)


def free_ports(count: int) -> list[int]:
    """Return ports that are free now; the start scripts need to know them before their servers start."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [probe.getsockname()[1] for probe in probes]


@pytest.mark.slow
@pytest.mark.capability("4.2")
@pytest.mark.capability("4.4")
@pytest.mark.capability("4.6")
@pytest.mark.capability("4.7")
@pytest.mark.capability("4.8")
@pytest.mark.capability("4.12")
@pytest.mark.capability("4.17")
@pytest.mark.capability("4.18")
@pytest.mark.capability("4.19")
def test_the_readmes_steps_lead_from_nothing_to_three_served_cases(tmp_path):
    folder = tmp_path / "example"
    shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns(*_BUILT))
    with Reader(folder, tmp_path) as reader:
        for step in steps():
            reader.take(step)
    printed = iter(reader.printed)
    assert next(printed).startswith("[2.0, 2.0]\nwrote ../models/simple_net/1/model.pt\n[2.0, 2.0]")
    judge_simple_net(next(printed), next(printed))
    (right,) = re.findall(r"^wrote finbert-tiny: 147267 parameters, (\d+) of 200 unseen", next(printed))
    assert int(right) >= 190
    judge_export(next(printed))
    assert "0 errors, 0 warnings" in next(printed)
    judge_finbert(*(next(printed) for _ in range(4)), vocabulary=folder / "finbert-tiny" / "tokenizer.json")
    assert "wrote finbert-wide" in next(printed)
    assert "largest difference from torch" in next(printed)
    judge_memory(next(printed))
    assert list(printed) == []


def judge_simple_net(notebook: str, curl: str) -> None:
    """Hold what test-triton-pub shows for a server that has only simple_net."""
    answers = responses(notebook)
    assert answers.pop("/health") == [(200, {"status": "OK"})]
    assert answers.pop("/models/simple_net") == [(200, {"prediction": [2.0, 2.0]})]
    assert answers == {
        "/models/finbert-tokenizer": [unknown("finbert-tokenizer")],
        "/models/finbert-model": [unknown("finbert-model"), unknown("finbert-trt-model")],
        "/models/finbert": [unknown("finbert")],
    }
    assert curl == '{"prediction":[2.0,2.0]}'


def responses(printed: str) -> dict[str, list[tuple[int, object]]]:
    """Return the status and body of each response that notebook 00 printed, by path."""
    found: dict[str, list[tuple[int, object]]] = {}
    for path, status, body in re.findall(r"^(?:GET|POST) (\S+): (\d+) (.*)$", printed, re.MULTILINE):
        found.setdefault(path, []).append((int(status), json.loads(body)))
    return found


def unknown(model: str) -> tuple[int, object]:
    details = f"[StatusCode.NOT_FOUND] Request for unknown model: '{model}' is not found"
    return 500, {"error": "Failed to query Triton Inference Server", "details": details}


def judge_export(printed: str) -> None:
    lines = printed.splitlines()
    assert lines[0] == "{0: 'positive', 1: 'negative', 2: 'neutral'}"
    assert [line.split()[0] for line in lines[2:5]] == ["positive", "negative", "neutral"]
    assert float(lines[5].removeprefix("largest difference from torch: ")) < 1e-3


def judge_finbert(notebook: str, single: str, batch: str, metrics: str, *, vocabulary: Path) -> None:
    """The pipeline equals its steps chained, gives every row of a batch its label, and is counted with them."""
    from tokenizers import Tokenizer

    answers = responses(notebook)
    (_, tokens), *_ = answers["/models/finbert-tokenizer"]
    ids = Tokenizer.from_file(str(vocabulary)).encode(TEXT).ids
    assert tokens == {"input_ids": [ids], "attention_mask": [[1] * len(ids)], "token_type_ids": [[0] * len(ids)]}
    chained, tensorrt = answers["/models/finbert-model"]
    assert tensorrt == unknown("finbert-trt-model")
    assert answers["/models/simple_net"] == [unknown("simple_net")]
    assert answers["/models/finbert"] == [chained]
    assert notebook.splitlines()[-1] == f"{TEXT} positive"
    assert json.loads(single) == chained[1]
    assert [row.index(max(row)) for row in json.loads(batch)["logits"]] == [1, 2]
    counts = {name: int(count) for name, count in re.findall(r'\{model="([^"]+)",version="1"\} (\d+)', metrics)}
    assert counts == {"finbert": 3, "finbert-tokenizer": 4, "finbert-model": 4}


def judge_memory(table: str) -> None:
    """Three more instances need less than a third of the weights in the server, and a child process each."""
    (weights,) = map(int, re.findall(r"^model.onnx: (\d+) MB", table))
    rows = [
        tuple(map(int, row)) for row in re.findall(r"^\| (\d+) \| (\d+) \| (\d+) \| (\d+) \|$", table, re.MULTILINE)
    ]
    assert [row[0] for row in rows] == [1, 2, 3, 4]
    servers, children = [row[1] for row in rows], [row[2] for row in rows]
    assert weights > 90
    assert servers[0] > weights
    assert servers[3] - servers[0] < weights / 3
    assert children[3] > 3 * children[0] > 0
    assert [row[3] for row in rows] == pytest.approx([servers[0] + more * weights for more in range(4)], abs=3)


SERVER = """#!/bin/sh
exec python -c '
import signal, sys
from http.server import BaseHTTPRequestHandler, HTTPServer

class Ready(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()

given = dict(word.split("=", 1) for word in sys.argv[1:] if "=" in word)
signal.alarm(60)
address = given["--http-address"].replace("0.0.0.0", "127.0.0.1")
HTTPServer((address, int(given["--http-port"])), Ready).serve_forever()
' "$@"
"""
PROXY = '#!/bin/sh\necho "$SLIPWAY_PROXY_OPTIONS"\n'


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere, 127.0.0.2 is not an address of the machine")
@pytest.mark.parametrize(("address", "looked_at"), [("127.0.0.2", "127.0.0.2"), ("0.0.0.0", "127.0.0.1")])  # noqa: S104
def test_the_start_script_looks_for_the_server_where_it_listens(tmp_path, address, looked_at):
    for name, text in (("slipway", SERVER), ("uvicorn", PROXY)):
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    http_port, grpc_port = free_ports(2)
    own = {"ADDRESS": address, "HTTP_PORT": str(http_port), "GRPC_PORT": str(grpc_port)}
    own["PATH"] = f"{tmp_path}:{Path(sys.executable).parent}:{os.environ['PATH']}"
    done = subprocess.run(
        [EXAMPLE / "app" / "start.sh"], env=os.environ | own, capture_output=True, text=True, check=False, timeout=60
    )
    assert f"--server={looked_at}:{grpc_port} --address={address}" in done.stdout.splitlines()


@pytest.mark.capability("4.17")
def test_each_notebook_is_its_script(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE / "notebooks"))
    made = importlib.import_module("make_notebooks")
    names = [script.stem for script in made.scripts()]
    assert names == ["00_test_fastapi_proxy_output", "01_compile_pt__simple_net", "02_compile_onnx__finbert"]
    for script in made.scripts():
        assert script.with_suffix(".ipynb").read_text(encoding="utf-8") == made.notebook(script)


@pytest.mark.capability("4.5")
def test_with_berts_vocabulary_the_tokens_are_the_applications(monkeypatch):
    monkeypatch.syspath_prepend(str(EXAMPLE))
    module = importlib.import_module("make_checkpoint")
    try:
        vocabulary = (Path(MINILM) / "vocab.txt").read_text(encoding="utf-8").splitlines()
        assert module.make_tokenizer(vocabulary)(TEXT).input_ids == GOLDEN
    finally:
        sys.modules.pop("make_checkpoint")
