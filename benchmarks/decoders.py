"""Decoder-only models on the CPU: our engines beside transformers and CTranslate2, and others where they are installed.

The shape is that of Qwen2.5-0.5B with random weights, which do not affect the figures. Each engine has a process of its
own, and turns alternate, so that a busy machine affects all; each figure is the median of its turns. SLIPWAY_OPTIMUM
names a Python with optimum-intel, SLIPWAY_LLAMA_CPP one with llama-cpp-python (which reads the GGUF file SLIPWAY_GGUF).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Final

from benchmarks import decoder_process
from benchmarks.reference import CannotRunError
from benchmarks.report import Row

BATCHES: Final = (1, 8)
TURNS: Final = 3
VOCABULARY: Final = 151_936
END: Final = "<|endoftext|>"  # as in the family's own tokenizer, which adds it where it is missing
OURS: Final = ("openvino int8", "openvino int4", "openvino bfloat16")
TRANSFORMERS, CTRANSLATE2, OPTIMUM, LLAMA_CPP = (
    "transformers bfloat16",
    "CTranslate2 int8",
    "optimum-intel int8",
    "llama.cpp q8_0",
)
# Other environments -> the variable that names their Python.
ELSEWHERE: Final = {OPTIMUM: "SLIPWAY_OPTIMUM", LLAMA_CPP: "SLIPWAY_LLAMA_CPP"}
# (ours, the neighbour, batch) -> the ratio that we promise.
TARGETS: Final[Mapping[tuple[str, str, int], float]] = {
    **{("openvino int8", CTRANSLATE2, batch): 1.5 for batch in BATCHES},
    **{("openvino int8", OPTIMUM, batch): 1.0 for batch in BATCHES},
    **{("openvino bfloat16", TRANSFORMERS, batch): 1.5 for batch in BATCHES},
    ("openvino int4", OPTIMUM, 1): 1.5,
}


def decoders() -> list[Row]:
    """Measure tokens/s for one prompt and for eight."""
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        directory = Path(scratch)
        write_checkpoint(directory)
        pythons = dict.fromkeys((*OURS, TRANSFORMERS, CTRANSLATE2), sys.executable)
        pythons |= {kind: found for kind, name in ELSEWHERE.items() if (found := os.environ.get(name))}
        running = {
            kind: stack.enter_context(running_decoder(python, kind, directory)) for kind, python in pythons.items()
        }
        speeds = {batch: alternating(running, batch) for batch in BATCHES}
    return list(compared(speeds))


def compared(speeds: Mapping[int, Mapping[str, float]]) -> Iterator[Row]:
    """Yield a row for each of our engines against each other one, from the tokens/s at each batch size."""
    for batch, found in speeds.items():
        for ours in OURS:
            for other in [kind for kind in found if kind not in OURS]:
                name = f"0.5B, batch {batch}, {ours}: against {other}"
                at_least = TARGETS.get((ours, other, batch))
                yield Row(name, found[ours], "tok/s", found[other], at_least=at_least)


@dataclass(frozen=True, slots=True)
class RunningDecoder:
    """A process that generates."""

    questions: IO[str]
    answers: IO[str]

    def seconds(self, batch: int) -> float:
        """Return how long a batch takes."""
        print(batch, file=self.questions, flush=True)
        return float(self.line())

    def line(self) -> str:
        """Return the next line of the process; raise an error if it has ended."""
        line = self.answers.readline()
        if not line:
            raise CannotRunError("an engine's process has ended; its error is above")
        return line


@contextmanager
def running_decoder(python: str, kind: str, directory: Path) -> Iterator[RunningDecoder]:
    """Yield a process of an engine that has loaded the checkpoint in `directory`."""
    words = [python, decoder_process.__file__, kind, str(directory)]
    quiet = os.environ | {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=quiet) as process:
        if process.stdin is None or process.stdout is None:
            raise CannotRunError("a process without pipes")
        decoder = RunningDecoder(process.stdin, process.stdout)
        while decoder.line() != "ready\n":  # libraries may print
            pass
        yield decoder
        process.stdin.close()


def alternating(running: Mapping[str, RunningDecoder], batch: int) -> dict[str, float]:
    """Return the median tokens/s of each; the first turn is only a warm-up."""
    seconds: dict[str, list[float]] = {kind: [] for kind in running}
    for turn in range(TURNS + 1):
        for kind, decoder in running.items():
            found = decoder.seconds(batch)
            if turn:
                seconds[kind].append(found)
    tokens = batch * decoder_process.NEW_TOKENS
    return {kind: tokens / statistics.median(found) for kind, found in seconds.items()}


def write_checkpoint(directory: Path, **settings: int) -> None:
    """Write a checkpoint in bfloat16 with random weights, and a tokenizer of as many words as it has ids; `settings`
    override those of its configuration."""
    import torch
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    sizes = {"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24, "num_attention_heads": 14}
    sizes |= {"num_key_value_heads": 2, "vocab_size": VOCABULARY} | settings
    config = Qwen2Config(**sizes, tie_word_embeddings=True, bos_token_id=None, eos_token_id=0)
    Qwen2ForCausalLM(config).to(torch.bfloat16).save_pretrained(directory)
    words = {END: 0} | {f"t{token}": token for token in range(1, sizes["vocab_size"])}
    Tokenizer(WordLevel(words, unk_token=END)).save(str(directory / "tokenizer.json"))
    special = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": END, "unk_token": END}
    (directory / "tokenizer_config.json").write_text(json.dumps(special))
