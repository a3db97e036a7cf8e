"""`slipway convert` on the command line: what a person sees, and what is left behind when it fails."""

from __future__ import annotations

import json
import os
import pty
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.cli.main import main
from tests.convert.checkpoints import add_sentence_transformers, write_checkpoint

QUICK = ("--engine", "onnxruntime", "--precision", "fp32", "--lengths", "8")
SECONDS = 120


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return add_sentence_transformers(write_checkpoint(tmp_path / "source"))


def command(source: Path, repository: Path, *flags: str) -> list[str]:
    words = ["convert", str(source), "--name", "m", "--repository", str(repository), *QUICK, *flags]
    return [sys.executable, "-W", "error", "-m", "slipway", *words]


def run(source: Path, repository: Path, *flags: str, **settings) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(source, repository, *flags), capture_output=True, text=True, check=False, timeout=SECONDS, **settings
    )


def test_a_conversion_prints_what_was_compared_and_no_library_noise(source, tmp_path):
    result = run(source, tmp_path / "models")
    assert (result.returncode, result.stderr) == (0, "")
    assert "embedding, compared with transformers in FP32" in result.stdout
    assert "chosen: onnxruntime fp32: it was asked for and passed the gate" in result.stdout
    assert "wrote m-tokenizer, m-model, m to" in result.stdout
    report = (tmp_path / "models/m-model/report.md").read_text()
    assert "| onnxruntime fp32 | chosen |" in report
    assert f"again: `slipway convert {source} --name m" in report


def test_json_prints_the_report_and_nothing_else(source, tmp_path):
    result = run(source, tmp_path / "models", "--json")
    printed = json.loads(result.stdout)
    assert printed == json.loads((tmp_path / "models/m-model/report.json").read_text())
    assert printed["chosen"] == "onnxruntime fp32"
    assert len(printed["source_sha256"]) == 64
    assert {"torch", "transformers", "onnxruntime", "slipway"} <= printed["versions"].keys()
    assert printed["candidates"][0]["figures"]["difference"] < 1e-4
    assert printed["candidates"][0]["speeds"][0]["length"] == 8


def test_a_dry_run_says_what_would_be_tried_and_writes_nothing(source, tmp_path):
    result = run(source, tmp_path / "models", "--dry-run")
    assert result.returncode == 0
    assert "would try onnxruntime fp32" in result.stdout
    assert "would write m-tokenizer, m-model, m to" in result.stdout
    assert not (tmp_path / "models").exists()


def test_a_terminal_sees_the_steps_and_a_clean_line_at_the_end(source, tmp_path):
    controller, terminal = pty.openpty()
    try:
        process = subprocess.Popen(command(source, tmp_path / "models"), stdout=subprocess.DEVNULL, stderr=terminal)
        os.close(terminal)
        seen = b""
        try:
            while block := os.read(controller, 4096):
                seen += block
        except OSError:  # the end of a terminal whose other side is closed
            pass
        assert process.wait(SECONDS) == 0
    finally:
        os.close(controller)
    assert b"verifying onnxruntime fp32" in seen or b"reading" in seen
    assert seen.endswith(b"\r\x1b[K")


@pytest.mark.parametrize("interrupt", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_behind(source, tmp_path, interrupt):
    process = subprocess.Popen(
        command(source, tmp_path / "models"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + SECONDS
    while not list(tmp_path.glob(".slipway-*")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(interrupt)
    assert process.wait(SECONDS) == 128 + interrupt  # what a shell expects of a command that a signal ended
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_a_full_disk_is_named_and_nothing_is_half_written(source, tmp_path):
    def no_room() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))

    result = run(source, tmp_path / "models", preexec_fn=no_room)
    assert result.returncode == 1
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
    assert "large" in result.stderr or "write" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_what_is_no_source_is_told_apart_from_a_hub_id(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    flags = ["--name", "m", "--repository", str(tmp_path / "models")]
    assert main(["convert", str(tmp_path / "nothing"), *flags]) == 1
    assert "is not a directory, a file, or the id of a model on a hub" in capsys.readouterr().err


def test_a_hub_id_that_cannot_be_fetched_says_so(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = run(Path("some-owner/some-model"), tmp_path / "models", env=environment)
    assert result.returncode == 1
    assert (
        "'some-owner/some-model' is no file or directory here, and as a model of the hub it cannot be" in result.stderr
    )
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--engine", "tensorrt", "--precision", "auto"), "TensorRT needs an NVIDIA GPU"),
        (("--lengths", "0"), "expected whole numbers of tokens such as 32,128, not '0'"),
        (("--precision", "bf16"), "has no precision 'bf16' here"),
        (("--engine", "auto", "--precision", "int8", "--accept"), "overrides the gate for one engine and precision"),
    ],
)
def test_wishes_that_cannot_be_met_end_with_one_line_and_exit_code_1(source, tmp_path, flags, message):
    result = run(source, tmp_path / "models", *flags)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not (tmp_path / "models").exists()
