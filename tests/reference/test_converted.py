"""Both ways: the Python models that `slipway convert` writes, in NVIDIA's server and in Slipway, on the same requests.

The encoders in between are ONNX files, which the reference build cannot run: its answers are fed random logits.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import ExitStack

import numpy as np
import pytest
import tritonclient.grpc

from benchmarks.reference import add_library, reference_server
from benchmarks.serving import running_server
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from tests.kits.calls import tensors
from tests.kits.encoder_checkpoints import HEADS, MOODS, TAGS, write_checkpoint
from tests.reference.requirement import skipped_without_reference

TEXTS = ["The cat sat on the mat.", "naïve café, [MASK] Straße, 東京", "", "stocks " * 60]
PAIRS = ("answers", "ranks")
Clients = tuple[tritonclient.grpc.InferenceServerClient, tritonclient.grpc.InferenceServerClient]


@pytest.fixture(scope="module")
def clients(tmp_path_factory) -> Iterator[Clients]:
    """Yield a client of Slipway and one of the reference, both with every tokenizer and every answering model."""
    root = tmp_path_factory.mktemp("converted")
    repository = root / "models"
    for name, (head, labels, changes) in HEADS.items():
        source = write_checkpoint(
            root / name, head=head, **({"id2label": labels} if labels else {}), **changes, num_hidden_layers=1
        )
        convert(source, ConvertOptions(name, repository, "onnxruntime", "fp32", lengths=(8,)))
        for model in (f"{name}-model", name):
            shutil.rmtree(repository / model)
    with skipped_without_reference():
        add_library("tokenizers")
    with ExitStack() as stack:
        theirs, _ = stack.enter_context(reference_server(repository, root / "reference.log"))
        ours = stack.enter_context(running_server(repository)).ports
        yield tuple(
            stack.enter_context(tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{ports.grpc}"))
            for ports in (ours, theirs)
        )


def same_answers(clients: Clients, model: str, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Ask both servers, hold every output of one against the other's, and return them."""
    answers = []
    for client in clients:
        result = client.infer(model, tensors(tritonclient.grpc, arrays))
        answers.append({each.name: result.as_numpy(each.name) for each in result.get_response().outputs})
    ours, theirs = answers
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert (array.dtype, array.shape) == (theirs[name].dtype, theirs[name].shape)
        np.testing.assert_array_equal(array, theirs[name])
    return ours


def words(*rows: str) -> np.ndarray:
    return np.array([[row.encode()] for row in rows], dtype=np.object_)


@pytest.mark.parametrize("name", [name for name in HEADS if name not in (*PAIRS, "zero")])
def test_tokenizers_give_the_same_ids_for_every_text(clients, name):
    ids = same_answers(clients, f"{name}-tokenizer", {"text": words(*TEXTS)})["input_ids"]
    assert ids.shape == (4, 40)


@pytest.mark.parametrize(("name", "first", "second"), [("answers", "question", "context"), ("ranks", "query", "text")])
def test_tokenizers_of_pairs_give_the_same_ids(clients, name, first, second):
    found = same_answers(clients, f"{name}-tokenizer", {first: words(*TEXTS), second: words(*reversed(TEXTS))})
    assert found["token_type_ids"].any()


def test_zero_shot_pairs_every_text_with_every_label(clients):
    labels = np.array([[b"cat", b"dog", b"cafe"]] * 4, dtype=np.object_)
    found = same_answers(clients, "zero-tokenizer", {"text": words(*TEXTS), "labels": labels})
    assert found["input_ids"].shape[:2] == (4, 3)


def logits(*shape: int) -> np.ndarray:
    return np.random.default_rng(3).normal(0, 3, shape).astype(np.float32)


def test_labels_and_scores_are_the_same(clients):
    for name in ("moods", "topics"):
        found = same_answers(clients, f"{name}-answer", {"logits": logits(5, len(MOODS))})
        assert set(found["label"].ravel()) <= {label.encode() for label in MOODS.values()}


def test_zero_shot_choices_are_the_same(clients):
    labels = np.array([[b"cat", b"dog", b"cafe"]] * 5, dtype=np.object_)
    same_answers(clients, "zero-answer", {"labels": labels, "entailment": logits(5, 3)})


def test_entities_answers_and_masked_words_are_the_same(clients):
    ours = clients[0]
    for name, first, text in (("entities", None, "text"), ("answers", "question", "context")):
        question = {first: words(*TEXTS)} if first else {}
        found = ours.infer(f"{name}-tokenizer", tensors(tritonclient.grpc, {**question, text: words(*TEXTS)}))
        offsets = found.as_numpy("offsets")
        shape = offsets.shape[:2]
        numbers = (
            {"logits": logits(*shape, len(TAGS))}
            if name == "entities"
            else {"start_logits": logits(*shape), "end_logits": logits(*shape)[::-1].copy()}
        )
        same_answers(clients, f"{name}-answer", {text: words(*TEXTS), "offsets": offsets, **numbers})
    ids = ours.infer("masks-tokenizer", tensors(tritonclient.grpc, {"text": words(TEXTS[1])})).as_numpy("input_ids")
    vocabulary = int(ours.get_model_config("masks-answer", as_json=True)["config"]["input"][1]["dims"][1])
    same_answers(clients, "masks-answer", {"input_ids": ids, "logits": logits(1, ids.shape[1], vocabulary)})
