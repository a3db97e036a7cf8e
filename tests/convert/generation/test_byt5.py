"""ByT5: a generator whose tokens are bytes, and which has no tokenizer.json."""

from __future__ import annotations

import numpy as np
import torch
import transformers as hf

from slipway.convert.conversion import convert
from slipway.convert.generation.gate import greedy
from slipway.convert.options import ConvertOptions
from slipway.convert.runner import open_model

TEXT = "naïve café, 東京"


def test_a_generator_of_bytes_is_converted_with_its_tokenizer(tmp_path):
    source, repository = tmp_path / "byt5", tmp_path / "models"
    tokenizer = hf.ByT5Tokenizer()
    tokenizer.save_pretrained(source)
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 32, "num_layers": 2, "num_heads": 2}
    torch.manual_seed(1)
    network = hf.T5ForConditionalGeneration(
        hf.T5Config(vocab_size=384, decoder_start_token_id=0, feed_forward_proj="gated-gelu", **sizes)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.ndim > 1:
                parameter.normal_(0, 0.4)
    network.eval().save_pretrained(source)
    conversion = convert(source, ConvertOptions("m", repository, "torch", precision="fp32"))
    assert any("bytes that are not UTF-8" in note for note in conversion.report.notes)

    with open_model(repository / "m-tokenizer") as model:
        ids = model.run({"text": np.array([[TEXT.encode()]], np.object_)})["input_ids"]
    assert ids[0].tolist() == tokenizer(TEXT)["input_ids"]
    with open_model(repository / "m-model") as model:
        answer = model.run(
            {"input_ids": ids, "attention_mask": np.ones_like(ids), **greedy(np.array([[16]], np.uint32))}
        )
    found = answer["output_ids"][0, 0, : int(answer["sequence_length"][0, 0])]
    expected = network.generate(torch.tensor(ids), max_new_tokens=16, do_sample=False)[0, 1:]
    assert found.tolist() == expected.tolist()
    with open_model(repository / "m-detokenizer") as model:
        words = model.run({"output_ids": ids[:, None], "sequence_length": np.array([[ids.size]], np.int64)})
    assert words["generated_text"].item() == TEXT.encode()
