"""A GGUF file (llama.cpp) as a Hugging Face directory: transformers reads it, with its tokenizer.

Each array is written in the smaller type that loses nothing: float16, bfloat16 or float32. Of unpacked weights, float16
is enough where they fit, because it is finer than every packed form of the format.
"""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any, Final

import ml_dtypes
import numpy as np

from slipway.checkpoints.huggingface.safetensors_file import write_safetensors
from slipway.convert.libraries import cause_of, quiet_libraries, require_libraries
from slipway.errors import invalid
from slipway.transformer.weights import Array

SUFFIX: Final = ".gguf"
_WHOLE: Final = frozenset(("F64", "F32", "F16", "BF16"))  # types that are not packed
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
            model, tokenizer = _opened(file)
    except Exception as error:  # both libraries raise whatever a damaged file leads to
        raise invalid(f"'{file}' is not a GGUF file that transformers can read: {cause_of(error)}") from error
    _write(directory, model, packed=not _WHOLE.issuperset(kinds))
    tokenizer.save_pretrained(directory)
    if template is not None and template.types == [GGUFValueType.STRING]:
        (directory / "chat_template.jinja").write_text(template.contents())
    return [f"the weights are stored as {', '.join(kinds)}; they were unpacked, and are served as plain numbers"]


def _opened(file: Path) -> tuple[Any, Any]:
    """Return the model and the tokenizer in a file, as transformers reads them."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    where: dict[str, Any] = {"pretrained_model_name_or_path": file.parent, "gguf_file": file.name}
    model = AutoModelForCausalLM.from_pretrained(**where, dtype=torch.float32)
    return model, AutoTokenizer.from_pretrained(**where)


def _write(directory: Path, model: Any, *, packed: bool) -> None:
    settings = {**model.config.to_dict(), "architectures": [type(model).__name__]}
    settings.pop("quantization_config", None)
    (directory / "config.json").write_text(json.dumps(settings, indent=2, default=str))
    arrays: dict[str, np.ndarray] = {}
    places = set()
    for name, tensor in model.state_dict().items():
        if tensor.data_ptr() not in places:  # a tied head is the token table
            arrays[name] = tensor.detach().numpy()
        places.add(tensor.data_ptr())
    write_safetensors(
        directory / "model.safetensors",
        {
            name: Array(array.shape, partial(_smallest, array, rounds=packed and array.ndim > 1))
            for name, array in arrays.items()
        },
    )


def _smallest(array: np.ndarray, *, rounds: bool) -> np.ndarray:
    """Return float32 numbers in the smallest type that holds them, or in float16 if `rounds` and they fit."""
    with np.errstate(over="ignore"):
        half = array.astype(np.float16)
    if np.array_equal(half, array) or (rounds and bool(np.isfinite(half).all())):
        return half
    brain = array.astype(ml_dtypes.bfloat16)
    return brain if np.array_equal(brain.astype(np.float32), array) else array
