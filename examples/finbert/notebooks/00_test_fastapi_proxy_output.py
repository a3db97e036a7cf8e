# %% [markdown]
# # Test the proxy
#
# Sends a request to each route and prints the response. Models that the server has not loaded answer with an error.

# %%
import json
import os
from http.client import HTTPConnection

PORT = int(os.environ.get("PROXY_PORT", "8005"))
TEXT = "Stocks rallied and the British pound gained."
LABELS = ("positive", "negative", "neutral")


def ask(method, path, body=None):
    """Send one request, print it with its response, and return the response."""
    connection = HTTPConnection("127.0.0.1", PORT, timeout=60)
    connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json"})
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    print(f"{method} {path}: {response.status} {json.dumps(answer)}")
    return answer


# %% [markdown]
# ## Is the server ready?

# %%
health = ask("GET", "/health")

# %% [markdown]
# ## Case 1: the simple network

# %%
simple = ask("POST", "/models/simple_net", {"x": [1.0, 1.0]})

# %% [markdown]
# ## Case 2: FinBERT
#
# Text to tokens, tokens to logits (also by the TensorRT model, on a server that has one), and both in one step.

# %%
tokens = ask("POST", "/models/finbert-tokenizer", {"text": TEXT})

# %%
rows = (
    {name: row for name, (row,) in tokens.items()}
    if "input_ids" in tokens
    else {
        "input_ids": [101, 15768, 24356, 1998, 1996, 2329, 9044, 4227, 1012, 102],
        "attention_mask": [1] * 10,
        "token_type_ids": [0] * 10,
    }
)
onnx = ask("POST", "/models/finbert-model", {**rows, "trt_model": False})
tensorrt = ask("POST", "/models/finbert-model", {**rows, "trt_model": True})

# %%
ensemble = ask("POST", "/models/finbert", {"text": TEXT})
if "logits" in ensemble:
    (logits,) = ensemble["logits"]
    print(f"{TEXT} {LABELS[logits.index(max(logits))]}")
