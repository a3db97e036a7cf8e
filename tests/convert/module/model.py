"""A tiny version of the model in nv-ingest's guide: a script with a class, its checkpoint, and the guide's command."""

from __future__ import annotations

import importlib.util
import json
import shlex
from pathlib import Path
from typing import Any

import numpy as np

SCRIPT = '''
import torch


class DebertaLargeModel(torch.nn.Module):
    """Two matrices instead of 24 layers; like the original, it accepts token types but does not use them."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(1000, 16)
        self.dense = torch.nn.Linear(16, 16)
        self.head = torch.nn.Linear(16, 1)

    def forward(self, ids, mask, types):
        hidden = torch.relu(self.dense(self.embed(ids))) * mask.unsqueeze(-1)
        return torch.sigmoid(self.head(hidden.sum(1) / 8))


class UsesTypes(DebertaLargeModel):
    def forward(self, ids, mask, types):
        return super().forward(ids, mask + types, types)
'''

IO_CONFIG = (
    '{"inputs":[{"name":"input_ids","dtype":"int64","shape":[128]},{"name":"input_mask","dtype":"float32",'
    '"shape":[128]},{"name":"input_token_type_ids","dtype":"float32","shape":[128]}],"outputs":[{"name":"output",'
    '"dtype":"float32","shape":[1]}]}'
)

# As in the guide, without the program name.
COMMAND = """
    --ckpt-path "./scratch/caption_classification/3/weights/fold0/model/model_0.pt" \\
    --dynamic-batching \\
    --engine-path "./scratch/model.plan" \\
    --generate-onnx \\
    --generate-triton-config \\
    --generate-trt \\
    --input-size 8 128 \\
    --model-class-name "DebertaLargeModel" \\
    --model-io-config '{io_config}' \\
    --model-name "deberta_large" \\
    --model-script-path "./triton_models/caption_classification/model_script.py" \\
    --onnx-path "./scratch/model.onnx" \\
    --overwrite \\
    --triton-inputs "input_ids,input_mask" \\
    --triton-repo "./triton_models" \\
    --use-fp16
"""


def guide_command() -> list[str]:
    """Return the arguments of the guide's command."""
    return shlex.split(COMMAND.replace("\\\n", " ").format(io_config=IO_CONFIG))


def load_script(path: Path) -> Any:
    """Return the script as a module."""
    spec = importlib.util.spec_from_file_location("tiny_script", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write_model(
    directory: Path, *, script: str = SCRIPT, name: str = "DebertaLargeModel", checkpoint: str = "model.pt"
) -> Any:
    """Write `model_script.py` and a checkpoint of random weights; return the model."""
    import torch

    directory.mkdir(parents=True, exist_ok=True)
    path = directory / "model_script.py"
    path.write_text(script)
    torch.manual_seed(1)
    model = getattr(load_script(path), name)().eval()
    target = directory / checkpoint
    target.parent.mkdir(parents=True, exist_ok=True)
    torch.save(model.state_dict(), target)
    return model


def io_config(*, inputs: list[tuple[str, str, list[int]]], outputs: list[tuple[str, str, list[int]]]) -> str:
    """Return the JSON of --model-io-config."""

    def tensors(rows: list[tuple[str, str, list[int]]]) -> list[dict[str, object]]:
        return [{"name": name, "dtype": dtype, "shape": shape} for name, dtype, shape in rows]

    return json.dumps({"inputs": tensors(inputs), "outputs": tensors(outputs)})


def command(directory: Path, **changes: object) -> list[str]:
    """Return arguments for the model of `write_model`: --generate-onnx and --generate-triton-config; `x_y=value`
    replaces `--x-y`, True is a flag, None or False leaves it out."""
    options: dict[str, object] = {
        "ckpt_path": directory / "model.pt",
        "engine_path": directory / "model.plan",
        "generate_onnx": True,
        "generate_triton_config": True,
        "model_class_name": "DebertaLargeModel",
        "model_io_config": IO_CONFIG,
        "model_name": "m",
        "model_script_path": directory / "model_script.py",
        "onnx_path": directory / "model.onnx",
        "triton_repo": directory / "repo",
        **changes,
    }
    words: list[str] = []
    for option, value in options.items():
        if value is None or value is False:
            continue
        words.append(f"--{option.replace('_', '-')}")
        if value is not True:
            words += [str(each) for each in (value if isinstance(value, list | tuple) else [value])]
    return words


def examples(rows: int) -> dict[str, np.ndarray]:
    """Return inputs for the tiny model, without the token types."""
    generator = np.random.default_rng(rows)
    return {
        "input_ids": generator.integers(0, 1000, (rows, 128)),
        "input_mask": generator.standard_normal((rows, 128)).astype(np.float32),
    }


def answer(model: Any, inputs: dict[str, np.ndarray]) -> np.ndarray:
    """Return PyTorch's output for `inputs`."""
    import torch

    with torch.no_grad():
        ids, mask = (torch.from_numpy(inputs[name]) for name in ("input_ids", "input_mask"))
        return model(ids, mask, torch.zeros_like(mask)).numpy()
