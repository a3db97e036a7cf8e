"""Generate with one engine, in a process of its own: a neighbour's environment may lack everything of Slipway.

`PYTHON benchmarks/decoder_process.py KIND DIRECTORY` reads batch sizes, one a line, and answers each with the seconds
that the batch took. KIND is one of the functions of `KINDS`, which return a function of prompts int64 [batch, tokens];
DIRECTORY is a Hugging Face checkpoint. Nothing here may import a module of Slipway at the top.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

PROMPT_TOKENS: Final = 32
NEW_TOKENS: Final = 64
Generate = Callable[[np.ndarray], Any]


def slipway(compute_type: str, directory: Path) -> Generate:
    """Return generation by the engine that Slipway chooses, or ENGINE names."""
    from slipway.checkpoints.huggingface.reader import read_huggingface
    from slipway.transformer.engines import open_engine
    from slipway.transformer.generation import Decoding, SequenceRequest, collect
    from slipway.transformer.options import EngineOptions

    engine, _, number_type = compute_type.rpartition(" ")
    checkpoint = read_huggingface(directory)
    options = EngineOptions(engine=engine or "auto", compute_type=number_type, cache_directory=directory / "cache")
    (directory / "cache").mkdir(exist_ok=True)
    opened = open_engine(checkpoint.spec, checkpoint.weights, options, name="decoder")
    print(opened.description, file=sys.stderr, flush=True)
    decoding = Decoding(NEW_TOKENS, end_id=-1)
    return lambda prompts: collect(opened, [SequenceRequest(ids, decoding) for ids in prompts])


def transformers(directory: Path) -> Generate:
    """Return generation by transformers in bfloat16."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.bfloat16).eval()
    return partial(_generate, model)


def optimum(directory: Path) -> Generate:
    """Return generation by optimum-intel: OpenVINO's stateful model with weights in int8."""
    from optimum.intel import OVModelForCausalLM  # type: ignore[import-not-found,unused-ignore]

    model = OVModelForCausalLM.from_pretrained(directory, export=True, load_in_8bit=True)
    return partial(_generate, model)


def _generate(model: Any, prompts: np.ndarray) -> None:
    import torch

    ids = torch.from_numpy(prompts)
    with torch.inference_mode():
        model.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=NEW_TOKENS,
            min_new_tokens=NEW_TOKENS,
            do_sample=False,
        )


def ctranslate2(directory: Path) -> Generate:
    """Return generation by CTranslate2 in int8, converted by its own converter."""
    import ctranslate2 as library
    from ctranslate2.converters import TransformersConverter

    converted = directory / "ctranslate2"
    if not converted.exists():
        TransformersConverter(str(directory)).convert(str(converted), quantization="int8")
    generator = library.Generator(str(converted), compute_type="int8", intra_threads=os.cpu_count() or 1)

    def generate(prompts: np.ndarray) -> None:
        generator.generate_batch(
            [[f"t{token}" for token in row] for row in prompts.tolist()],
            max_length=NEW_TOKENS,
            min_length=NEW_TOKENS,
            include_prompt_in_result=False,
            sampling_topk=1,
        )

    return generate


def llama_cpp(directory: Path) -> Generate:
    """Return generation by llama.cpp, row after row, of the GGUF file (q8_0) that SLIPWAY_GGUF names."""
    from llama_cpp import Llama  # type: ignore[import-not-found,unused-ignore]

    del directory
    model = Llama(os.environ["SLIPWAY_GGUF"], n_ctx=256, verbose=False, logits_all=False)

    def generate(prompts: np.ndarray) -> None:
        for row in prompts.tolist():
            model.reset()
            for number, _ in enumerate(model.generate(row, temp=0.0), 1):
                if number == NEW_TOKENS:
                    break

    return generate


KINDS: Final[dict[str, Callable[[Path], Generate]]] = {
    "openvino int8": partial(slipway, "openvino int8"),
    "openvino int4": partial(slipway, "openvino int4"),
    "openvino bfloat16": partial(slipway, "openvino bfloat16"),
    "transformers bfloat16": transformers,
    "CTranslate2 int8": ctranslate2,
    "optimum-intel int8": optimum,
    "llama.cpp q8_0": llama_cpp,
}


def vocabulary(directory: Path) -> int:
    """Return the number of ids of a checkpoint."""
    size: int = json.loads((directory / "config.json").read_text())["vocab_size"]
    return size


def main() -> None:
    """Answer batch sizes with seconds."""
    kind, directory = sys.argv[1:]
    generate = KINDS[kind](Path(directory))
    print("ready", flush=True)
    random = np.random.default_rng(0)  # other prompts each time: equal ones are not computed again
    for line in sys.stdin:
        rows = int(line)
        prompts = random.integers(1, vocabulary(Path(directory)), (rows, PROMPT_TOKENS))
        started = time.perf_counter()
        generate(prompts)
        print(time.perf_counter() - started, flush=True)


if __name__ == "__main__":
    main()
