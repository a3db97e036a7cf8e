"""Captions end to end: a DeBERTa-shaped cross-encoder, converted, served, and asked for 25 images in one request."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import tritonclient.grpc
import tritonclient.http
from tokenizers import ByteLevelBPETokenizer, Tokenizer

from benchmarks.serving import running_server
from slipway.cli.main import main
from slipway.documents.captions import CaptionBlock, candidates, captions, request_rows
from tests.convert.module.model import command, write_model
from tests.kits.calls import infer

TOKENS = 128
IMAGES = 25
# The shape of the caption classifier, in small: DeBERTa, the state of the first token, one probability.
SCRIPT = f"""
import torch
from transformers import DebertaConfig, DebertaModel


class DebertaLargeModel(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.model = DebertaModel(DebertaConfig(
            vocab_size=400, hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
            max_position_embeddings={TOKENS}, relative_attention=True, pos_att_type=["c2p", "p2c"], type_vocab_size=0,
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.5,
        ))
        self.head = torch.nn.Linear(32, 1)
        torch.nn.init.normal_(self.head.weight, std=0.5)
        torch.nn.init.constant_(self.head.bias, -4.0)

    def forward(self, ids, mask, types):
        return torch.sigmoid(self.head(self.model(input_ids=ids, attention_mask=mask).last_hidden_state[:, 0]))
"""
WORDS = "Figure Table shows the yield per year of wheat in tonnes hectare Source annual report text café 2.5 %".split()


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    """A byte-level tokenizer like the classifier's, which fills up and cuts to 128 tokens."""
    made = ByteLevelBPETokenizer()
    made.train_from_iterator([" ".join(WORDS)], vocab_size=400, special_tokens=["[PAD]", "[CLS]", "[SEP]"])
    made.enable_truncation(TOKENS)
    made.enable_padding(length=TOKENS)
    return made._tokenizer


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> tuple[Path, torch.nn.Module]:
    """The repository with `deberta_large_onnx` and its alias `deberta_large`, and the PyTorch model."""
    directory = tmp_path_factory.mktemp("captions")
    model = write_model(directory, script=SCRIPT)
    words = command(
        directory,
        model_name="deberta_large",
        serve_name="deberta_large",
        triton_inputs="input_ids,input_mask",
        max_batch_size=128,
        triton_repo=directory / "repo",
    )
    assert main(["convert-module", *words]) == 0
    return directory / "repo", model


@pytest.fixture(scope="module")
def server(classifier):
    with running_server(classifier[0]) as running:
        yield running


def page() -> tuple[list[tuple[float, ...]], list[CaptionBlock]]:
    """Return the boxes of 25 images and 60 blocks of text on a page."""
    random = np.random.default_rng(4)

    def box() -> tuple[float, ...]:
        x, y = random.uniform(0, 900, 2)
        return (float(x), float(y), float(x + random.uniform(20, 120)), float(y + random.uniform(10, 80)))

    blocks = [CaptionBlock(" ".join(random.choice(WORDS, random.integers(3, 40))), box()) for _ in range(60)]
    return [box() for _ in range(IMAGES)], blocks


def encoded(tokenizer: Tokenizer, rows) -> dict[str, np.ndarray]:
    """Return the two tensors of a request: ids, and the mask as FP32."""
    encodings = tokenizer.encode_batch(list(rows))
    return {
        "input_ids": np.array([each.ids for each in encodings], np.int64),
        "input_mask": np.array([each.attention_mask for each in encodings], np.float32),
    }


def plain_captions(model, tokenizer, images, blocks) -> list[str]:
    """Return the caption of each image, found one candidate at a time."""
    found = []
    for image in images:

        def distance(block, image=image):
            dx = (block.box[0] + block.box[2]) / 2 - (image[0] + image[2]) / 2
            dy = (block.box[1] + block.box[3]) / 2 - (image[1] + image[3]) / 2
            return math.sqrt(dx * dx + dy * dy)

        best, chosen = 0.5, ""
        for block in sorted(blocks, key=distance)[:5]:
            text = "".join(letter if ord(letter) < 128 else "?" for letter in block.text)
            one = encoded(tokenizer, [text])
            ids, mask = (torch.from_numpy(one[name]) for name in ("input_ids", "input_mask"))
            with torch.no_grad():
                probability = float(model(ids, mask, None))
            if probability > best:
                best, chosen = probability, text
        found.append(chosen)
    return found


@pytest.mark.capability("3.13")
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_25_images_get_their_captions_in_one_request_as_one_by_one(classifier, server, tokenizer, transport):
    images, blocks = page()
    (rows,) = request_rows([candidates(image, blocks) for image in images])
    assert len(rows) == IMAGES * 5
    module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[transport]
    with module.InferenceServerClient(getattr(server, transport)) as client:
        output = infer(client, "deberta_large", encoded(tokenizer, rows), "output")
    assert output.shape == (IMAGES * 5, 1)
    found = captions(rows, output)
    expected = plain_captions(classifier[1], tokenizer, images, blocks)
    assert list(found) == expected
    assert 0 < expected.count("") < IMAGES  # the threshold refused some, and not all
