"""The torch module of a text model: load the checkpoint and add the head of the task.

`transformers` computes the network; only pooling, normalising and the selection of outputs are implemented here. The
result is judged in gate.py and packaged in package.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import Task
from slipway.convert.encoders.source import EncoderSource
from slipway.convert.encoders.tasks import TASKS
from slipway.convert.libraries import load_pretrained
from slipway.errors import invalid


def load_network(source: EncoderSource) -> Any:
    """Return the checkpoint as a torch module in FP32; raise `SlipwayError` if an array is missing or unreadable."""
    network, report = load_pretrained(
        TASKS[source.task].auto_class,
        source.directory,
        use_safetensors=_has_safetensors(source.directory),
        attn_implementation="eager",  # onnxruntime recognises and fuses this form of attention
        output_loading_info=True,
    )
    missing = sorted(key for key in report["missing_keys"] if not _is_unused(key, source.task))
    if missing or report["mismatched_keys"]:
        names = missing or sorted(str(key[0]) for key in report["mismatched_keys"])
        kind = "missing" if missing else "misshapen"
        raise invalid(f"the checkpoint in '{source.directory}' has {len(names)} {kind} arrays, first '{names[0]}'")
    return network.eval()


def _has_safetensors(directory: Path) -> bool | None:
    return True if any(directory.glob("*.safetensors")) else None


def _is_unused(key: str, task: Task) -> bool:
    """Return whether a missing array does not matter: only sequence classification uses BERT's pooler."""
    return TASKS[task].auto_class != "AutoModelForSequenceClassification" and "pooler." in key


def build_encoder(source: EncoderSource, network: Any) -> Any:
    """Return a torch module that maps the source's inputs (positional, INT64) to a tuple of the task's FP32 outputs."""
    import torch

    class Encoder(torch.nn.Module):
        """The network with the head of its task."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return _HEADS[source.task](source, self.network, inputs)

    return Encoder().eval()


def _ask(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> Any:
    return network(**dict(zip(source.input_names, inputs, strict=True)))


def _logits(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_ask(source, network, inputs).logits,)


def _hidden_states(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_ask(source, network, inputs).last_hidden_state,)


def _embedding(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    import torch

    hidden = _ask(source, network, inputs).last_hidden_state
    weights = inputs[1].unsqueeze(-1).to(hidden.dtype)
    if source.pooling == "cls":
        pooled = hidden[:, 0]
    elif source.pooling == "max":
        pooled = torch.where(weights > 0, hidden, torch.full_like(hidden, -1e9)).amax(1)
    else:
        count = weights.sum(1).clamp(min=1e-9)
        pooled = (hidden * weights).sum(1) / (count if source.pooling == "mean" else count.sqrt())
    return (torch.nn.functional.normalize(pooled, dim=-1) if source.normalise else pooled,)


def _score(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    logits = _ask(source, network, inputs).logits[:, :1]
    return (logits if source.raw_score else logits.sigmoid(),)


def _spans(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    answer = _ask(source, network, inputs)
    return answer.start_logits, answer.end_logits


def _entailment(source: EncoderSource, network: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Run every label of every text as a separate row: [texts, labels, tokens] -> [texts, labels]."""
    texts, labels, tokens = inputs[0].shape
    flat = tuple(tensor.reshape(-1, tokens) for tensor in inputs)
    return (_ask(source, network, flat).logits[:, source.entailment].reshape(texts, labels),)


_HEADS: Final = {
    Task.CLASSIFICATION: _logits,
    Task.EMBEDDING: _embedding,
    Task.HIDDEN_STATES: _hidden_states,
    Task.MASK: _logits,
    Task.QUESTIONS: _spans,
    Task.RERANKING: _score,
    Task.TOKENS: _logits,
    Task.ZERO_SHOT: _entailment,
}
