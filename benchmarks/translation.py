"""A file of lines through a server and `triton_client` with a model as large as transformer_base, against a greedy loop
of transformers over the same lines.

Weights are random, so nothing ends early: both sides generate as many tokens as the longest input of a batch has, and
some more. The server's engine and precision are those that `slipway convert` chose.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.report import Row
from benchmarks.serving import running_server

if TYPE_CHECKING:
    from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder

LINES = 3_000
BATCH = 32
EXTRA = 8  # tokens more than the input has
WORDS = 33_600
SHORTEST, LONGEST = 4, 24  # words of a line
_LETTERS = "abcdefghijklmnopqrstuvwxyz\\_;0123456789"


def translation() -> list[Row]:
    """Measure the lines per second of both."""
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        source, target = root / "in.txt", root / "out.txt"
        lines = made_lines()
        source.write_text("".join(f"{line}\n" for line in lines))
        _convert(root)
        plain = _loop(lines)
        with running_server(root / "models") as server:
            command = [sys.executable, "-m", "slipway", "triton_client", f"--server={server.http}"]
            command += ["--model-name=translate", f"--input_file={source}", f"--output_file={target}"]
            started = time.monotonic()
            subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
            seconds = time.monotonic() - started
        if len(target.read_text().splitlines()) != LINES:
            raise ValueError("the output has another number of lines")
    return [Row(f"{LINES:,} lines, transformer_base, greedy", LINES / seconds, "/s", plain, at_least=3.0)]


def made_lines() -> list[str]:
    """Return lines of random words, the same in every run."""
    random = np.random.default_rng(0)
    lengths = random.integers(SHORTEST, LONGEST, LINES)
    return [" ".join(f"w{number}" for number in random.integers(0, WORDS, length)) for length in lengths]


def vocabulary_of_words() -> SubwordTextEncoder:
    """Return a vocabulary in which every word of the lines is one subtoken."""
    from slipway.checkpoints.tensor2tensor.subwords import SubwordTextEncoder

    return SubwordTextEncoder(["<pad>_", "<EOS>_", *(f"w{number}_" for number in range(WORDS)), *_LETTERS])


def _convert(root: Path) -> None:
    """Make a repository with a model of random weights."""
    from slipway.checkpoints.tensor2tensor.hparams import named_hparams, to_json
    from slipway.checkpoints.tensor2tensor.training_checkpoint import point_to, save_weights
    from slipway.train.network.parameters import initial_parameters, to_stored

    trained = root / "trained"
    trained.mkdir()
    vocabulary = vocabulary_of_words()
    vocabulary.save(trained / "vocab.translate_words.32768.subwords")
    hparams = named_hparams("transformer_base")
    size = vocabulary.vocabulary_size
    arrays = {name: values.numpy() for name, values in initial_parameters(hparams, size, 1).items()}
    save_weights(trained, 1, to_stored(arrays, hparams, size))
    point_to(trained, 1)
    (trained / "hparams.json").write_text(to_json(hparams))
    (trained / "decoding.json").write_text(f'{{"beam_size": 1, "extra_length": {EXTRA}}}')
    command = [sys.executable, "-m", "slipway", "convert", str(trained), "--name=translate"]
    subprocess.run([*command, f"--repository={root / 'models'}"], check=True, stdout=subprocess.DEVNULL)


def _loop(lines: list[str]) -> float:
    """Return the lines per second of transformers in batches of the file's order."""
    import torch
    from transformers import MarianConfig, MarianMTModel

    config = MarianConfig(
        vocab_size=vocabulary_of_words().vocabulary_size,
        d_model=512,
        encoder_layers=6,
        decoder_layers=6,
        encoder_attention_heads=8,
        decoder_attention_heads=8,
        encoder_ffn_dim=2048,
        decoder_ffn_dim=2048,
        pad_token_id=0,
        eos_token_id=1,
        decoder_start_token_id=0,
        forced_eos_token_id=None,
        max_position_embeddings=512,
    )
    network = MarianMTModel(config).eval()
    started = time.monotonic()
    with torch.inference_mode():
        for start in range(0, len(lines), BATCH):
            rows = [[*(2 + int(word[1:]) for word in line.split()), 1] for line in lines[start : start + BATCH]]
            width = max(map(len, rows))
            ids = torch.tensor([[*row, *[0] * (width - len(row))] for row in rows])
            tokens = width + EXTRA
            network.generate(
                ids, attention_mask=(ids != 0).long(), num_beams=1, max_new_tokens=tokens, min_new_tokens=tokens
            )
    return len(lines) / (time.monotonic() - started)
