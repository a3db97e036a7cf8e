"""GPT from a FasterTransformer checkpoint: token ids in both interfaces, and text to text through NVIDIA's ensemble."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer
from tests.kits import servers
from tests.kits.calls import tensors
from tests.kits.fastertransformer_models import add_model, generate, tiny_gpt2, write_checkpoint
from tests.kits.repositories import write_config

VOCABULARY = 60
PROMPTS = [[5, 17, 33, 8], [9, 40], [21, 22, 23, 24, 25, 26]]

# The text models: a token is a letter, "A" is token 1.
PREPROCESSING = '''"""Turns texts into ids, and words given as comma-separated text into [2, length]."""

import numpy as np
import triton_python_backend_utils as pb_utils


def encode(text):
    return [ord(letter) - 64 for letter in text]


def word_list(texts):
    flat, ends = [], []
    for word in filter(None, texts[0].decode().split(",")):
        flat += encode(word)
        ends.append(len(flat))
    width = max(1, len(flat))
    return np.array([flat + [0] * (width - len(flat)), ends + [-1] * (width - len(ends))], np.int32)


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def read(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        rows = [encode(row[0].decode()) for row in read("QUERY")]
        longest = max(map(len, rows))
        outputs = {
            "INPUT_ID": np.array([row + [0] * (longest - len(row)) for row in rows], np.uint32),
            "REQUEST_INPUT_LEN": np.array([[len(row)] for row in rows], np.uint32),
            "REQUEST_OUTPUT_LEN": read("REQUEST_OUTPUT_LEN"),
            "BAD_WORDS_IDS": padded([word_list(row) for row in read("BAD_WORDS_DICT")]),
            "STOP_WORDS_IDS": padded([word_list(row) for row in read("STOP_WORDS_DICT")]),
        }
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, array) for name, array in outputs.items()])


def padded(lists):
    width = max(each.shape[1] for each in lists)
    full = np.zeros((len(lists), 2, width), np.int32)
    full[:, 1] = -1
    for row, each in zip(full, lists):
        row[:, : each.shape[1]] = each
    return full
'''
POSTPROCESSING = '''"""Turns ids into texts."""

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        return [self.answer(request) for request in requests]

    def answer(self, request):
        def read(name):
            return pb_utils.get_input_tensor_by_name(request, name).as_numpy()

        tokens, lengths = read("TOKENS_BATCH"), read("sequence_length")
        texts = [
            ["".join(chr(64 + token) for token in beam[:length]).encode() for beam, length in zip(row, sizes)]
            for row, sizes in zip(tokens, lengths)
        ]
        return pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT", np.array(texts, dtype=np.object_))])
'''
KNOBS = {
    "runtime_top_k": "UINT32",
    "runtime_top_p": "FP32",
    "beam_search_diversity_rate": "FP32",
    "temperature": "FP32",
    "len_penalty": "FP32",
    "repetition_penalty": "FP32",
    "random_seed": "UINT64",
    "is_return_log_probs": "BOOL",
    "beam_width": "UINT32",
}


def declare(kind: str, *rows: tuple[str, str, str], more: str = "") -> str:
    lines = ", ".join(f'{{ name: "{name}" data_type: TYPE_{type_} dims: {dims} {more} }}' for name, type_, dims in rows)
    return f"{kind} [ {lines} ]\n"


def maps(direction: str, **pairs: str) -> str:
    return "".join(f'{direction} {{ key: "{key}" value: "{value}" }}\n' for key, value in pairs.items())


def step(model: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    mapped = maps("input_map", **inputs) + maps("output_map", **outputs)
    return f'step {{ model_name: "{model}" model_version: -1\n{mapped}}}\n'


def add_ensemble(repository: Path) -> None:
    """Add preprocessing, postprocessing and the ensemble with the tensors of NVIDIA's GPT repository."""
    inputs = declare(
        "input",
        ("QUERY", "STRING", "[ -1 ]"),
        ("BAD_WORDS_DICT", "STRING", "[ -1 ]"),
        ("STOP_WORDS_DICT", "STRING", "[ -1 ]"),
        ("REQUEST_OUTPUT_LEN", "UINT32", "[ -1 ]"),
    )
    outputs = declare(
        "output",
        ("INPUT_ID", "UINT32", "[ -1 ]"),
        ("REQUEST_INPUT_LEN", "UINT32", "[ 1 ]"),
        ("BAD_WORDS_IDS", "INT32", "[ 2, -1 ]"),
        ("STOP_WORDS_IDS", "INT32", "[ 2, -1 ]"),
        ("REQUEST_OUTPUT_LEN", "UINT32", "[ -1 ]"),
    )
    head = 'backend: "python"\nmax_batch_size: 128\n'
    (write_config(repository, "preprocessing", head + inputs + outputs) / "model.py").write_text(PREPROCESSING)
    tokens = declare("input", ("TOKENS_BATCH", "UINT32", "[ -1, -1 ]"), ("sequence_length", "UINT32", "[ -1 ]"))
    texts = declare("output", ("OUTPUT", "STRING", "[ -1 ]"))
    (write_config(repository, "postprocessing", head + tokens + texts) / "model.py").write_text(POSTPROCESSING)
    asked = declare(
        "input",
        ("INPUT_0", "STRING", "[ -1 ]"),
        ("INPUT_1", "UINT32", "[ -1 ]"),
        ("INPUT_2", "STRING", "[ -1 ]"),
        ("INPUT_3", "STRING", "[ -1 ]"),
    ) + declare("input", *((name, kind, "[ 1 ]") for name, kind in KNOBS.items()), more="optional: true")
    told = declare(
        "output",
        ("OUTPUT_0", "STRING", "[ -1 ]"),
        ("sequence_length", "UINT32", "[ -1 ]"),
        ("cum_log_probs", "FP32", "[ -1 ]"),
        ("output_log_probs", "FP32", "[ -1, -1 ]"),
    )
    same = {name: name for name in ("sequence_length", "cum_log_probs", "output_log_probs")}
    steps = [
        step(
            "preprocessing",
            {
                "QUERY": "INPUT_0",
                "REQUEST_OUTPUT_LEN": "INPUT_1",
                "BAD_WORDS_DICT": "INPUT_2",
                "STOP_WORDS_DICT": "INPUT_3",
            },
            {
                name: f"_{name}"
                for name in "INPUT_ID REQUEST_INPUT_LEN BAD_WORDS_IDS STOP_WORDS_IDS REQUEST_OUTPUT_LEN".split()
            },
        ),
        step(
            "fastertransformer",
            {
                "input_ids": "_INPUT_ID",
                "input_lengths": "_REQUEST_INPUT_LEN",
                "request_output_len": "_REQUEST_OUTPUT_LEN",
                "bad_words_list": "_BAD_WORDS_IDS",
                "stop_words_list": "_STOP_WORDS_IDS",
            }
            | {name: name for name in KNOBS},
            {"output_ids": "_TOKENS_BATCH", **same},
        ),
        step(
            "postprocessing",
            {"TOKENS_BATCH": "_TOKENS_BATCH", "sequence_length": "sequence_length"},
            {"OUTPUT": "OUTPUT_0"},
        ),
    ]
    config = f'platform: "ensemble"\nmax_batch_size: 128\n{asked}{told}ensemble_scheduling {{\n{"".join(steps)}}}\n'
    write_config(repository, "ensemble", config)


BETA = """max_batch_size: 128
input [
  { name: "INPUT_ID" data_type: TYPE_UINT32 dims: [ -1, -1 ] },
  { name: "REQUEST_INPUT_LEN" data_type: TYPE_UINT32 dims: [ 1 ] },
  { name: "REQUEST_OUTPUT_LEN" data_type: TYPE_UINT32 dims: [ 1 ] }
]
output [ { name: "OUTPUT0" data_type: TYPE_UINT32 dims: [ -1, -1 ] } ]
"""


@dataclass
class Served:
    server: RunningServer
    gpt: Any


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    root = tmp_path_factory.mktemp("gpt")
    repository, gpt = root / "models", tiny_gpt2(VOCABULARY)
    version = add_model(repository, "fastertransformer", "GPT", tensor_para_size="2", data_type="fp16")
    write_checkpoint(gpt, version / "2-gpu", root / "hf", ways=2)
    dims = {
        "head_num": 4,
        "size_per_head": 8,
        "inter_size": 128,
        "vocab_size": VOCABULARY,
        "start_id": VOCABULARY - 1,
        "end_id": VOCABULARY - 1,
        "decoder_layers": 2,
        "max_input_len": 32,
        "max_seq_len": 64,
        "tensor_para_size": 2,
    }
    settings = {key: str(value) for key, value in dims.items()}
    version = add_model(repository, "beta", "GPT", BETA, model_name="gpt", top_k="1", is_half="0", **settings)
    write_checkpoint(gpt, version / "2-gpu", root / "hf", ways=2)
    (version / "2-gpu" / "config.ini").unlink()  # for the first interface the sizes are in config.pbtxt
    add_ensemble(repository)
    with servers.served(repository) as running:
        yield Served(running, gpt)


@pytest.fixture
def client(served: Served) -> Iterator[tritonclient.grpc.InferenceServerClient]:
    with tritonclient.grpc.InferenceServerClient(served.server.grpc) as made:
        yield made


def prompts() -> dict[str, np.ndarray]:
    longest = max(map(len, PROMPTS))
    ids = np.array([row + [0] * (longest - len(row)) for row in PROMPTS], np.uint32)
    return {"input_ids": ids, "input_lengths": np.array([[len(row)] for row in PROMPTS], np.uint32)}


def test_ids_are_those_of_transformers_after_the_prompt(served, client):
    limits = [12, 5, 8]
    arrays = prompts() | {"request_output_len": np.array([[each] for each in limits], np.uint32)}
    answer = client.infer("fastertransformer", tensors(tritonclient.grpc, arrays))
    ids, lengths = answer.as_numpy("output_ids"), answer.as_numpy("sequence_length")
    assert ids.shape == (3, 1, 6 + 12)
    assert answer.as_numpy("response_input_lengths").tolist() == [[4], [2], [6]]
    for row, (prompt, limit) in enumerate(zip(PROMPTS, limits, strict=True)):
        expected = prompt + generate(served.gpt, prompt, limit)[0]
        assert ids[row, 0, : lengths[row, 0]].tolist() == expected


def test_the_first_interface_reads_its_sizes_from_the_configuration(served, client):
    given = prompts()
    arrays = {
        "INPUT_ID": given["input_ids"][:, None],
        "REQUEST_INPUT_LEN": given["input_lengths"],
        "REQUEST_OUTPUT_LEN": np.full((3, 1), 6, np.uint32),
    }
    ids = client.infer("beta", tensors(tritonclient.grpc, arrays)).as_numpy("OUTPUT0")
    for row, prompt in enumerate(PROMPTS):
        expected = prompt + generate(served.gpt, prompt, 6)[0]
        assert ids[row, 0, : len(expected)].tolist() == expected


def test_context_embeddings_are_the_sum_over_the_prompt(served, client):
    import torch

    arrays = prompts() | {
        "request_output_len": np.full((3, 1), 2, np.uint32),
        "is_return_context_embeddings": np.ones((3, 1), np.bool_),
    }
    got = client.infer("fastertransformer", tensors(tritonclient.grpc, arrays)).as_numpy("context_embeddings")
    for row, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            expected = served.gpt.transformer(torch.tensor([prompt])).last_hidden_state[0].sum(0)
        np.testing.assert_allclose(got[row, 0], expected.numpy(), atol=1e-3)


def test_a_prompt_longer_than_the_positions_is_refused(client):
    arrays = prompts() | {"request_output_len": np.full((3, 1), 60, np.uint32)}
    with pytest.raises(InferenceServerException, match="makes 66 tokens, the model has 64 positions"):
        client.infer("fastertransformer", tensors(tritonclient.grpc, arrays))


def texts(*rows: str) -> np.ndarray:
    return np.array([[row.encode()] for row in rows], dtype=np.object_)


def say(client: Any, *rows: str, bad: str = "", stop: str = "", **knobs: np.ndarray) -> Any:
    count = len(rows)
    arrays = {
        "INPUT_0": texts(*rows),
        "INPUT_1": np.full((count, 1), 8, np.uint32),
        "INPUT_2": texts(*[bad] * count),
        "INPUT_3": texts(*[stop] * count),
    }
    return client.infer("ensemble", tensors(tritonclient.grpc, arrays | knobs))


@pytest.mark.capability("0.18")
def test_text_in_gives_the_prompt_and_its_continuation(served, client):
    rows = ["HELLO", "HI"]
    answer = say(client, *rows).as_numpy("OUTPUT_0")
    assert answer.shape == (2, 1)
    for row, text in enumerate(rows):
        ids = [ord(letter) - 64 for letter in text]
        expected = "".join(chr(64 + token) for token in ids + generate(served.gpt, ids, 8)[0])
        assert answer[row, 0].decode() == expected


@pytest.mark.capability("0.18")
def test_optional_knobs_pass_through_and_may_be_left_out(client):
    plain = say(client, "HELLO").as_numpy("OUTPUT_0")[0, 0].decode()
    letter = plain[5]
    assert letter not in say(client, "HELLO", bad=letter).as_numpy("OUTPUT_0")[0, 0].decode()[5:]
    assert say(client, "HELLO", stop=f"ZZ,{plain[5:7]}").as_numpy("OUTPUT_0")[0, 0].decode() == plain[:7]
    wide = say(client, "HELLO", beam_width=np.array([[2]], np.uint32), is_return_log_probs=np.array([[True]]))
    assert wide.as_numpy("OUTPUT_0").shape == (1, 2)
    assert wide.as_numpy("cum_log_probs").shape == (1, 2)
