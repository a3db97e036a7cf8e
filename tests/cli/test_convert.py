"""`slipway convert` on the command line."""

from __future__ import annotations

import subprocess
import sys

from tests.convert.checkpoints import add_sentence_transformers, write_checkpoint

QUICK = ("--engine", "onnxruntime", "--precision", "fp32", "--lengths", "8")


def test_a_conversion_prints_what_was_compared_and_no_library_noise(tmp_path):
    source = add_sentence_transformers(write_checkpoint(tmp_path / "source"))
    command = [sys.executable, "-W", "error", "-m", "slipway", "convert", str(source), "--name", "m", *QUICK]
    result = subprocess.run(
        [*command, "--repository", str(tmp_path / "models")], capture_output=True, text=True, check=False
    )
    assert (result.returncode, result.stderr) == (0, "")
    assert "embedding, compared with transformers in FP32" in result.stdout
    assert "chosen: onnxruntime fp32: it was asked for and passed the gate" in result.stdout
    assert "wrote m-tokenizer, m-model, m to" in result.stdout
