"""The torch module of a text model: load the checkpoint and add the head of the task.

`transformers` computes the network; only pooling, normalising and the selection of outputs are implemented here. The
result is judged in gate.py and packaged in package.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import Task
from slipway.convert.encoders.forms import Ask, traceable
from slipway.convert.encoders.head import activation, build_layers, embed
from slipway.convert.encoders.source import EncoderSource
from slipway.convert.encoders.tasks import TASKS
from slipway.convert.libraries import load_pretrained
from slipway.errors import invalid


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A checkpoint as a torch module, and the names of the arrays that the module does not use."""

    module: Any
    unexpected: tuple[str, ...]


def load_network(source: EncoderSource) -> LoadedNetwork:
    """Return the checkpoint as a torch module in FP32; raise `SlipwayError` if an array is missing or unreadable."""
    network, report = load_pretrained(
        _auto_class(source),
        source.directory,
        use_safetensors=_has_safetensors(source.directory),
        attn_implementation="eager",  # onnxruntime recognises and fuses this form of attention
        output_loading_info=True,
        **({"attention_type": "original_full"} if source.family.form == "full attention" else {}),
    )
    missing = sorted(key for key in report["missing_keys"] if not _is_unused(key, source.task))
    if missing or report["mismatched_keys"]:
        names = missing or sorted(str(key[0]) for key in report["mismatched_keys"])
        kind = "missing" if missing else "misshapen"
        raise invalid(f"the checkpoint in '{source.directory}' has {len(names)} {kind} arrays, first '{names[0]}'")
    return LoadedNetwork(network.eval(), tuple(sorted(report["unexpected_keys"])))


def _auto_class(source: EncoderSource) -> str:
    own = ""
    if source.task in (Task.EMBEDDING, Task.HIDDEN_STATES):
        own = source.family.encoder_class
    elif source.task is Task.QUESTIONS:
        own = source.family.questions.auto_class
    return own or TASKS[source.task].auto_class


def _has_safetensors(directory: Path) -> bool | None:
    return True if any(directory.glob("*.safetensors")) else None


def _is_unused(key: str, task: Task) -> bool:
    """Return whether a missing array does not matter: only sequence classification uses BERT's pooler."""
    return TASKS[task].auto_class != "AutoModelForSequenceClassification" and "pooler." in key


def build_encoder(source: EncoderSource, network: Any) -> Any:
    """Return a torch module that maps the source's inputs (positional, INT64) to a tuple of the task's FP32 outputs."""
    import torch

    module, ask = traceable(network, source.family.form)
    top: Any = torch.nn.Identity()
    if source.task is Task.EMBEDDING and source.head is not None:
        top = build_layers(source.head)
        top.hidden_size = int(network.config.hidden_size)
    elif source.task is Task.RERANKING:
        top = activation(source.activation)

    class Encoder(torch.nn.Module):
        """The network with the head of its task."""

        def __init__(self) -> None:
            super().__init__()
            self.network = module
            self.top = top

        def forward(self, *inputs: torch.Tensor) -> tuple[torch.Tensor, ...]:
            return _HEADS[source.task](source, ask, self.top, inputs)

    return Encoder().eval()


def _ask(source: EncoderSource, ask: Ask, inputs: tuple[Any, ...]) -> Any:
    return ask(dict(zip(source.input_names, inputs, strict=True)))


def _logits(source: EncoderSource, ask: Ask, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_ask(source, ask, inputs).logits,)


def _hidden_states(source: EncoderSource, ask: Ask, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (_ask(source, ask, inputs).last_hidden_state,)


def _embedding(source: EncoderSource, ask: Ask, layers: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    if source.head is None:
        raise AssertionError("an embedding without a head")
    hidden = _ask(source, ask, inputs).last_hidden_state
    width = source.head.width(int(layers.hidden_size))
    return (embed(source.head, layers, hidden, inputs[1], source.prompt_tokens, width),)


def _score(source: EncoderSource, ask: Ask, activation: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    return (activation(_ask(source, ask, inputs).logits[:, :1]),)


def _spans(source: EncoderSource, ask: Ask, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    answer = _ask(source, ask, inputs)
    return answer.start_logits, answer.end_logits


def _entailment(source: EncoderSource, ask: Ask, _: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    """Run every label of every text as a separate row: [texts, labels, tokens] -> [texts, labels]."""
    texts, labels, tokens = inputs[0].shape
    flat = tuple(tensor.reshape(-1, tokens) for tensor in inputs)
    return (_ask(source, ask, flat).logits[:, source.entailment].reshape(texts, labels),)


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
