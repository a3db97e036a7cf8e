"""The torch side of a conversion: open the checkpoint, put pooling on top, trace it to ONNX.

`transformers` computes the network; only pooling and normalising are ours. Nothing here decides whether the result is
good enough (gate.py) or where it goes (package.py).
"""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from slipway.convert.source import Source, Task
from slipway.convert.tokenizer import first_line
from slipway.errors import invalid

OPSET: Final = 17  # the first with LayerNormalization; every onnxruntime and Triton of the last years reads it


@contextlib.contextmanager
def quiet_libraries() -> Iterator[None]:
    """Keep progress bars, tracer warnings and loading reports of torch and transformers off the terminal."""
    from transformers.utils import logging as transformers_logging

    loggers = [logging.getLogger(name) for name in ("torch.onnx", "transformers")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        transformers_logging.disable_progress_bar()
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            transformers_logging.enable_progress_bar()
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def load_network(source: Source) -> Any:
    """Return the checkpoint as a torch module in FP32; raise `SlipwayError` when an array is missing or unreadable."""
    import torch
    from transformers import AutoModel, AutoModelForSequenceClassification

    loader = AutoModelForSequenceClassification if source.task is Task.CLASSIFICATION else AutoModel
    try:
        network, report = loader.from_pretrained(
            source.directory,
            local_files_only=True,
            use_safetensors=_has_safetensors(source.directory),
            dtype=torch.float32,
            attn_implementation="eager",  # the plain form of attention is what onnxruntime recognises and fuses
            output_loading_info=True,
        )
    except Exception as error:  # safetensors, torch and transformers raise types without a common root
        raise invalid(f"cannot load the weights of '{source.directory}': {first_line(error)}") from error
    missing = sorted(key for key in report["missing_keys"] if not _is_unused(key, source.task))
    if missing or report["mismatched_keys"]:
        names = missing or sorted(str(key[0]) for key in report["mismatched_keys"])
        kind = "missing" if missing else "of another shape"
        raise invalid(f"the checkpoint in '{source.directory}' has {len(names)} arrays {kind}, first '{names[0]}'")
    return network.eval()


def _has_safetensors(directory: Path) -> bool | None:
    return True if any(directory.glob("*.safetensors")) else None


def _is_unused(key: str, task: Task) -> bool:
    """Return whether an absent array does not matter: BERT's pooler is not on the way to the output."""
    return task is not Task.CLASSIFICATION and key.startswith("pooler.")


def build_encoder(source: Source, network: Any) -> Any:
    """Return a torch module from the source's inputs (positional, INT64 [rows, tokens]) to its one FP32 output."""
    import torch

    class Encoder(torch.nn.Module):
        """The network with the task's head."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
            answer = self.network(**dict(zip(source.input_names, inputs, strict=True)))
            if source.task is Task.CLASSIFICATION:
                return torch.as_tensor(answer.logits)
            hidden: torch.Tensor = answer.last_hidden_state
            return hidden if source.task is Task.HIDDEN_STATES else self.pool(hidden, inputs[1])

        def pool(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
            weights = mask.unsqueeze(-1).to(hidden.dtype)
            if source.pooling == "cls":
                pooled = hidden[:, 0]
            elif source.pooling == "max":
                pooled = torch.where(weights > 0, hidden, torch.full_like(hidden, -1e9)).amax(1)
            else:
                count = weights.sum(1).clamp(min=1e-9)
                pooled = (hidden * weights).sum(1) / (count if source.pooling == "mean" else count.sqrt())
            return torch.nn.functional.normalize(pooled, dim=-1) if source.normalise else pooled

    return Encoder().eval()


def export_onnx(source: Source, encoder: Any, path: Path) -> None:
    """Trace `encoder` to an ONNX file with variable rows and tokens."""
    import torch

    # Two rows of unequal length: a trace must see padding, or it would take "nothing is masked" for a constant.
    ids = torch.arange(14).remainder(source.vocabulary_size).reshape(2, 7)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    example = (ids, mask, torch.zeros_like(ids))[: len(source.input_names)]
    axes = {name: {0: "rows", 1: "tokens"} for name in source.input_names}
    axes[source.task.value] = {0: "rows", 1: "tokens"} if source.task is Task.HIDDEN_STATES else {0: "rows"}
    with torch.inference_mode():
        torch.onnx.export(
            encoder,
            example,
            str(path),
            input_names=list(source.input_names),
            output_names=[source.task.value],
            dynamic_axes=axes,
            opset_version=OPSET,
            dynamo=False,  # the newer exporter needs onnxscript and ten times as long
        )
