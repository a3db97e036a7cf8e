# %% [markdown]
# # Export the simple network
#
# Writes relu(W x + b), with weights of one and no bias, as TorchScript to the model repository.

# %%
import os
import warnings
from pathlib import Path

import torch

MODELS = Path(os.environ.get("MODELS", "../models"))


# %%
class SimpleNet(torch.nn.Module):
    """relu(W x + b)."""

    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(2, 2)
        torch.nn.init.ones_(self.linear.weight)
        torch.nn.init.zeros_(self.linear.bias)

    def forward(self, x):
        """Return FP32 [2] for FP32 [2]; the name of the argument is the name of the model's input."""
        return torch.relu(self.linear(x))


network = SimpleNet().eval()
print(network(torch.ones(2)).tolist())

# %% [markdown]
# torch warns that TorchScript is deprecated. Triton's backend for PyTorch reads it.

# %%
file = MODELS / "simple_net" / "1" / "model.pt"
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    torch.jit.script(network).save(file)
print(f"wrote {file}")

# %% [markdown]
# ## Read it again

# %%
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    loaded = torch.jit.load(file)
print(loaded(torch.ones(2)).tolist())
