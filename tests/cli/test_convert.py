"""`slipway convert` on the command line: what a person sees, and what is left behind when it fails."""

from __future__ import annotations

import json
import os
import pty
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from slipway.cli.main import main
from tests.kits.encoder_checkpoints import add_sentence_transformers, write_checkpoint
from tests.kits.generators import write_generator
from tests.kits.signals import interruptible

QUICK = ("--engine", "onnxruntime", "--precision", "fp32", "--lengths", "8")
SECONDS = 120
STEP = re.compile(r"step \d+( of \d+)?: ")
ROOT = Path(__file__).parents[2]


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


def without_steps(text: str) -> str:
    """Return what was printed besides the progress."""
    return "".join(line for line in text.splitlines(keepends=True) if not STEP.match(line))


def test_a_conversion_prints_what_was_compared_and_no_library_noise(source, tmp_path):
    result = run(source, tmp_path / "models")
    assert (result.returncode, without_steps(result.stderr)) == (0, "")
    assert "embedding, compared with transformers in FP32" in result.stdout
    assert "chosen: onnxruntime fp32: it was requested and passed the gate" in result.stdout
    assert "wrote m-tokenizer, m-model, m to" in result.stdout
    table = result.stdout.partition("chosen: ")[0].splitlines()[1:]
    assert "onnxruntime fp32" in table[0]
    assert max(map(len, table)) <= 80
    report = (tmp_path / "models/m-model/report.md").read_text()
    assert "| onnxruntime fp32 | chosen |" in report
    assert f"to reproduce: `slipway convert {source} --name m" in report


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


@pytest.fixture
def generator(tmp_path: Path) -> list[str]:
    """The words of a conversion of a tiny model that generates text."""
    source = write_generator(tmp_path / "generator", "gpt2")
    return ["convert", str(source), "--name", "m", "--repository", str(tmp_path / "models"), "--engine", "torch"]


@pytest.mark.parametrize(
    ("compute_type", "precision"), [("float32", "fp32"), ("bfloat16", "bf16"), ("int8", "int8"), ("auto", "auto")]
)
def test_compute_type_is_read_as_the_precision_of_its_name_with_one_warning(generator, compute_type, precision, capsys):
    seen = []
    for flags in (["--compute-type", compute_type], ["--precision", precision]):
        assert main([*generator, *flags, "--dry-run"]) == 0
        seen.append(capsys.readouterr())
    assert seen[0].out == seen[1].out
    assert seen[0].err == f"warning: --compute-type is deprecated; use --precision {precision}\n"
    assert seen[1].err == ""


def test_a_model_that_generates_is_written_in_the_precision_that_is_named(generator, tmp_path, capsys):
    assert main([*generator, "--compute-type", "float32", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert [(each["label"], each["precision"]) for each in printed["candidates"]] == [("torch float32", "fp32")]
    assert printed["candidates"][0].keys() >= {"criteria", "figures", "speeds", "agreement", "tokens"}
    assert 'string_value: "float32"' in (tmp_path / "models/m-model/config.pbtxt").read_text()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--precision", "fp16"), "engine 'torch' does not support precision 'fp16'; supported: fp32, bf16, int8"),
        (("--precision", "fp32", "--compute-type", "int8"), "--compute-type int8 contradicts --precision fp32"),
    ],
)
def test_an_unavailable_precision_is_refused_with_the_available_ones(generator, tmp_path, flags, message):
    words = [sys.executable, "-W", "error", "-m", "slipway", *generator, *flags]
    result = subprocess.run(words, capture_output=True, text=True, check=False, timeout=SECONDS)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(without_steps(result.stderr).splitlines()) == 1
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
        except OSError:  # how the end of a closed terminal shows
            pass
        assert process.wait(SECONDS) == 0
    finally:
        os.close(controller)
    assert b"verifying onnxruntime fp32" in seen or b"reading" in seen
    assert b"\n" not in seen
    assert seen.endswith(b"\r\x1b[K")


def test_without_a_terminal_each_step_is_a_line_with_its_place_in_the_whole(source, tmp_path):
    result = run(source, tmp_path / "models")
    steps = result.stderr.splitlines()
    assert steps[0] == f"step 1: reading {source}"
    assert steps[1] == "step 2 of 4: running the reference"
    assert "step 3 of 4: verifying onnxruntime fp32" in steps
    assert steps[-1].startswith("step 4 of 4: writing")


# Python imports a module of this name when it starts, so the child that converts is noisy too.
NOISE = """
import os, subprocess, sys, warnings
from slipway.convert.candidates import flow

def noisy(original):
    def expectations(subject):
        print("a library prints")
        print("a library complains", file=sys.stderr)
        warnings.warn("a library warns", UserWarning, stacklevel=1)
        os.write(1, b"native code prints\\n")
        os.write(2, b"native code complains\\n")
        subprocess.run([sys.executable, "-c", "print('a child prints')"])
        {end}
        return original(subject)
    return expectations

flow.expectations = noisy(flow.expectations)
"""
NOISES = ("a library prints", "a library complains", "native code prints", "native code complains", "a child prints")


def run_noisily(source, tmp_path, *flags, end=""):
    return run_changed(source, tmp_path, NOISE.format(end=end), *QUICK, *flags)


def run_changed(source, tmp_path, change, *flags):
    """Convert with a program that every Python process runs before its own."""
    (tmp_path / "changed").mkdir()
    (tmp_path / "changed/sitecustomize.py").write_text(change)
    words = ["convert", str(source), "--name", "m", "--repository", str(tmp_path / "models"), *flags]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "changed"), str(ROOT)])}
    return subprocess.run(
        [sys.executable, "-m", "slipway", *words],
        capture_output=True,
        text=True,
        check=False,
        timeout=SECONDS,
        env=environment,
    )


def test_what_libraries_print_is_kept_back(source, tmp_path):
    result = run_noisily(source, tmp_path)
    assert (result.returncode, without_steps(result.stderr)) == (0, "")
    assert not [noise for noise in (*NOISES, "a library warns") if noise in result.stdout]
    assert result.stdout.startswith(f"{source}: embedding")


def test_verbose_shows_what_libraries_print(source, tmp_path):
    result = run_noisily(source, tmp_path, "--verbose")
    assert result.returncode == 0
    printed = result.stdout + result.stderr
    assert [noise for noise in (*NOISES, "a library warns") if noise not in printed] == []
    assert "step 3 of 4: verifying onnxruntime fp32\n" in result.stderr


def test_an_unexpected_error_shows_what_was_kept_back(source, tmp_path):
    result = run_noisily(source, tmp_path, end="raise RuntimeError('a fault of ours')")
    assert result.returncode == 1
    assert [noise for noise in NOISES if noise not in result.stderr] == []
    assert result.stderr.endswith("RuntimeError: a fault of ours\n")
    assert result.stdout == ""


def test_a_crash_of_native_code_is_one_line_that_names_source_step_signal_and_place(source, tmp_path):
    result = run_noisily(source, tmp_path, end="os.abort()")
    assert result.returncode == 1
    (line,) = without_steps(result.stderr).splitlines()
    assert line.startswith(f"error: '{source}': running the reference crashed with SIGABRT in expectations, ")
    assert not (tmp_path / "models").exists()


def test_a_crash_shows_the_whole_stack_with_verbose(source, tmp_path):
    result = run_noisily(source, tmp_path, "--verbose", end="os.abort()")
    assert result.returncode == 1
    assert "Fatal Python error: Aborted" in result.stderr
    assert "in expectations" in result.stderr


CRASH = """
import os, signal
from slipway.convert.candidates import build

def halve(source, target):
    os.kill(os.getpid(), signal.SIGSEGV)

build.halve = halve
"""


def test_a_candidate_that_crashes_is_left_out_and_reported(source, tmp_path):
    result = run_changed(source, tmp_path, CRASH, "--engine", "onnxruntime", "--lengths", "8", "--accuracy", "fast")
    assert result.returncode == 0
    assert "not tried: onnxruntime fp16: it crashed with SIGSEGV" in result.stdout
    assert "onnxruntime int8" in result.stdout
    report = json.loads((tmp_path / "models/m-model/report.json").read_text())
    assert [each["label"] for each in report["skipped"] if "SIGSEGV" in each["reason"]] == ["onnxruntime fp16"]
    assert report["isolation"].startswith("a child process with at most ")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "models", "source"]


def test_a_requested_candidate_that_crashes_ends_the_conversion_with_its_reason(source, tmp_path):
    flags = ("--engine", "onnxruntime", "--precision", "fp16", "--lengths", "8")
    result = run_changed(source, tmp_path, CRASH, *flags)
    assert result.returncode == 1
    (line,) = without_steps(result.stderr).splitlines()
    assert line.startswith(
        "error: no candidate passed the gate; nothing was written: onnxruntime fp16: it crashed with"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["changed", "source"]


def test_a_source_that_needs_more_memory_is_one_line_with_the_flag(source, tmp_path):
    result = run(source, tmp_path / "models", "--max-memory", "256M")
    assert result.returncode == 1
    (line,) = without_steps(result.stderr).splitlines()
    assert line.startswith(f"error: '{source}': ")
    assert "--max-memory" in line
    assert not (tmp_path / "models").exists()


def test_the_command_itself_imports_no_library_that_reads_models(source, tmp_path):
    program = (
        "import sys\nfrom slipway.cli.main import main\ncode = main(sys.argv[1:])\n"
        "print({'torch', 'transformers', 'onnx', 'onnxruntime', 'openvino', 'safetensors'} & sys.modules.keys())\n"
        "sys.exit(code)"
    )
    words = command(source, tmp_path / "models")[5:]
    result = subprocess.run(
        [sys.executable, "-c", program, *words], capture_output=True, text=True, check=False, timeout=SECONDS
    )
    assert (result.returncode, result.stdout.splitlines()[-1]) == (0, "set()")


def test_in_process_there_is_no_child(source, tmp_path):
    result = run(source, tmp_path / "models", "--in-process", "--json")
    assert json.loads(result.stdout)["isolation"] == "none"


def test_a_mistake_of_the_user_is_one_line_even_if_libraries_printed(source, tmp_path):
    end = "from slipway.errors import invalid; raise invalid('no such thing')"
    result = run_noisily(source, tmp_path, end=end)
    assert (result.returncode, without_steps(result.stderr)) == (1, "error: no such thing\n")


@pytest.mark.parametrize("interrupt", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_run_leaves_nothing_behind(source, tmp_path, interrupt):
    with interruptible():
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
    assert without_steps(result.stderr).startswith("error: ")
    assert len(without_steps(result.stderr).splitlines()) == 1
    assert "large" in result.stderr or "write" in result.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source"]


def test_an_invalid_source_is_not_taken_for_a_hub_id(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    flags = ["--name", "m", "--repository", str(tmp_path / "models")]
    assert main(["convert", str(tmp_path / "nothing"), *flags]) == 1
    assert "is not a directory, a file, or the id of a model on a hub" in capsys.readouterr().err


def test_a_hub_id_that_cannot_be_fetched_says_so(tmp_path):
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub")}
    result = run(Path("some-owner/some-model"), tmp_path / "models", env=environment)
    assert result.returncode == 1
    expected = "'some-owner/some-model' is not a local file or directory, and fetching it from the model hub failed"
    assert expected in result.stderr
    assert len(without_steps(result.stderr).splitlines()) == 1


@pytest.mark.parametrize(
    "source", ["some-owner/some-model", "gpt2", "encoder", "generator", "model.onnx", "model.pt", "model.pt2"]
)
def test_without_the_extra_every_source_is_one_line_that_names_the_command(tmp_path, source):
    for directory, kind in (("encoder", "bert"), ("generator", "t5")):
        (tmp_path / directory).mkdir()
        (tmp_path / directory / "config.json").write_text(json.dumps({"model_type": kind}))
    for file in ("model.onnx", "model.pt", "model.pt2"):
        (tmp_path / file).touch()
    hidden = "torch transformers onnx safetensors huggingface_hub openvino nncf ctranslate2".split()
    (tmp_path / "hidden").mkdir()
    program = f"import sys; sys.modules.update(dict.fromkeys({hidden}))\n"
    (tmp_path / "hidden/sitecustomize.py").write_text(program)  # run at the start of every Python process
    result = subprocess.run(
        [sys.executable, "-m", "slipway", "convert", source, "--name", "m", "--repository", "models"],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "hidden"), str(ROOT)]),
            "HF_HUB_OFFLINE": "1",
        },
    )
    assert (result.returncode, result.stdout) == (1, "")
    assert without_steps(result.stderr).startswith("error: conversion needs torch, transformers, ")
    assert 'pip install "slipway-serving[convert' in result.stderr
    assert len(without_steps(result.stderr).splitlines()) == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--engine", "tensorrt", "--precision", "auto"), "TensorRT needs an NVIDIA GPU"),
        (("--lengths", "0"), "expected whole numbers of tokens such as 32,128, not '0'"),
        (("--precision", "bf16"), "does not support precision 'bf16'"),
        (("--engine", "auto", "--precision", "int8", "--accept"), "overrides the gate for a single candidate"),
        (("--max-batch-size", "0"), "expected a number from 1 to 1024, not '0'"),
        (("--max-batch-size", "4"), "--max-batch-size applies only to models that read images"),
    ],
)
def test_options_that_cannot_be_honoured_end_with_one_line_and_exit_code_1(source, tmp_path, flags, message):
    result = run(source, tmp_path / "models", *flags)
    assert result.returncode == 1
    assert message in result.stderr
    assert len(without_steps(result.stderr).splitlines()) == 1
    assert not (tmp_path / "models").exists()
