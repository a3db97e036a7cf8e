# %% [markdown]
# # Export FinBERT
#
# Writes the classifier as ONNX and its tokenizer to the model repository; `finbert`, which joins both, is already
# there. `CHECKPOINT` may be any BERT for text classification, such as a copy of ProsusAI/finbert.

# %%
import os
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

CHECKPOINT = Path(os.environ.get("CHECKPOINT", "../finbert-tiny"))
MODELS = Path(os.environ.get("MODELS", "../models"))
NAMES = ("input_ids", "attention_mask", "token_type_ids")
TEXTS = (
    "Stocks rallied and the British pound gained.",
    "Profits fell.",
    "The index held steady in early trading and the bank kept its value this year.",
)

# %%
tokenizer = AutoTokenizer.from_pretrained(CHECKPOINT)
network = AutoModelForSequenceClassification.from_pretrained(CHECKPOINT, attn_implementation="eager").eval()
print(network.config.id2label)

# %% [markdown]
# ## The model
#
# The inputs are INT32, and both their axes, rows and tokens, may have any size.


# %%
class Logits(torch.nn.Module):
    """The classifier with its inputs in the order of `NAMES`."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, input_ids, attention_mask, token_type_ids):
        """Return the logits, FP32 [rows, 3]."""
        return self.network(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids).logits


batch = tokenizer(list(TEXTS), padding=True, return_tensors="pt")
inputs = tuple(batch[name].to(torch.int32) for name in NAMES)
file = MODELS / "finbert-model" / "1" / "model.onnx"
with warnings.catch_warnings(), torch.no_grad():
    warnings.simplefilter("ignore")  # this exporter is the older of two, and the one that takes seconds
    torch.onnx.export(
        Logits(network),
        inputs,
        file,
        input_names=list(NAMES),
        output_names=["logits"],
        dynamic_axes={name: {0: "rows", 1: "tokens"} for name in NAMES} | {"logits": {0: "rows"}},
        opset_version=20,
        dynamo=False,
    )
print(f"wrote {file}: {file.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# ## Compare it with torch

# %%
session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
difference = 0.0
for text in TEXTS:
    row = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        expected = network(**row).logits.numpy()
    (found,) = session.run(["logits"], {name: row[name].numpy().astype(np.int32) for name in NAMES})
    difference = max(difference, float(np.abs(found - expected).max()))
    print(f"{network.config.id2label[int(found.argmax())]:8}  {text}")
print(f"largest difference from torch: {difference:.1e}")
if difference > 1e-3:
    raise SystemExit("The exported model differs from torch.")

# %% [markdown]
# ## The tokenizer

# %%
folder = MODELS / "finbert-tokenizer" / "1" / "tokenizer_data"
tokenizer.save_pretrained(folder)
print(f"wrote {folder}")
