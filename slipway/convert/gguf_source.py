"""A GGUF file (llama.cpp) as a Hugging Face directory: transformers reads it, with its tokenizer.

The numbers are written as float16, which is finer than every packed form of the format, or as float32 if they do not
fit.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.checkpoints.huggingface.safetensors_file import write_safetensors
from slipway.convert.libraries import cause_of, quiet_libraries, require_libraries
from slipway.errors import invalid
from slipway.transformer.weights import Array

SUFFIX: Final = ".gguf"
_LIBRARIES: Final = ("torch", "transformers", "tokenizers", "gguf")


def write_gguf_as_directory(file: Path, directory: Path) -> list[str]:
    """Write the model and the tokenizer of a file into an existing, empty directory; return notes for the report.

    Raise INVALID_ARG if transformers cannot read the file.
    """
    require_libraries(_LIBRARIES, "convert", "gguf")
    from gguf import GGUFReader, GGUFValueType

    try:
        reader = GGUFReader(file)
        kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors})
        template = reader.fields.get("tokenizer.chat_template")
        with quiet_libraries(verbose=False):
            _save(file, directory)
    except Exception as error:  # both libraries raise whatever a damaged file leads to
        raise invalid(f"'{file}' is not a GGUF file that transformers can read: {cause_of(error)}") from error
    if template is not None and template.types == [GGUFValueType.STRING]:
        (directory / "chat_template.jinja").write_text(template.contents())
    return [f"the weights are stored as {', '.join(kinds)}; they were unpacked, and are served as plain numbers"]


def _save(file: Path, directory: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model: Any = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    settings = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    settings.pop("quantization_config", None)
    (directory / "config.json").write_text(json.dumps(settings, indent=2, default=str))
    tensors = model.state_dict()
    fits = all(bool(torch.isfinite(tensor.half()).all()) for tensor in tensors.values())
    write_safetensors(
        directory / "model.safetensors",
        {
            name: Array(tuple(tensor.shape), partial(_numbers, tensor.half() if fits else tensor))
            for name, tensor in tensors.items()
        },
    )
    AutoTokenizer.from_pretrained(**where).save_pretrained(directory)


def _numbers(tensor: Any) -> np.ndarray:
    numbers: np.ndarray = tensor.detach().numpy()
    return numbers
