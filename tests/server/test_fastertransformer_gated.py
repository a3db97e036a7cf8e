"""T5 v1.1, Flan and mT5 from the converter to the response: gated blocks, a separate head, logits not scaled."""

from __future__ import annotations

import numpy as np
import pytest
import tritonclient.grpc

from slipway.cli.main import main as slipway
from tests.kits.calls import tensors
from tests.kits.fastertransformer_models import VOCABULARY, add_model, cut, generate, loud
from tests.kits.servers import served

SENTENCES = [[5, 17, 33, 8, 40, 12, 1], [9, 40, 1], [21, 22, 23, 24, 1]]


@pytest.mark.capability("0.4")
def test_a_gated_model_with_its_own_head_answers_as_transformers_does(tmp_path, capsys):
    import torch
    from transformers import MT5Config, MT5ForConditionalGeneration

    torch.manual_seed(3)
    config = MT5Config(
        vocab_size=VOCABULARY, d_model=32, d_kv=8, d_ff=48, num_layers=2, num_heads=4, decoder_start_token_id=0
    )
    model = loud(MT5ForConditionalGeneration(config))
    model.lm_head.weight = torch.nn.Parameter(torch.randn(VOCABULARY, 32))
    model.config.tie_word_embeddings = False
    model.save_pretrained(tmp_path / "hf")
    version = add_model(tmp_path / "models", "gated", "T5")
    words = ["-o", str(version), "-i", str(tmp_path / "hf"), "-i_g", "1"]
    assert slipway(["huggingface_t5_ckpt_convert", *words]) == 0
    capsys.readouterr()
    state, files = model.state_dict(), version / "1-gpu"
    for stored, name in (("wi", "wi_0"), ("wi2", "wi_1")):
        block = np.fromfile(files / f"encoder.block.0.layer.1.DenseReluDense.{stored}.weight.0.bin", "<f4")
        expected = state[f"encoder.block.0.layer.1.DenseReluDense.{name}.weight"].numpy().T
        np.testing.assert_array_equal(block.reshape(32, 48), expected)
    head = np.fromfile(files / "lm_head.weight.bin", "<f4").reshape(VOCABULARY, 32)
    np.testing.assert_array_equal(head, state["lm_head.weight"].numpy())
    with served(tmp_path / "models") as server, tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        for sentence in SENTENCES:
            arrays = {
                "input_ids": np.array([sentence], np.uint32),
                "sequence_length": np.array([[len(sentence)]], np.uint32),
                "max_output_len": np.array([[16]], np.uint32),
            }
            answer = client.infer("gated", tensors(tritonclient.grpc, arrays)).as_numpy("output_ids")
            assert cut(answer[0, 0].tolist(), 1) == generate(model, sentence, 16)[0]
