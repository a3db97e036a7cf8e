"""Second implementations of networks that cannot be traced as transformers writes them; each computes the same numbers.

Longformer's windows are strides over memory, FNet's transform is complex and ignores padding, encoder-decoders find the
end of a text by counting over the whole batch, MobileBERT reads padding. The gate compares each form with the original
network.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from types import MethodType
from typing import Any, Final

Inputs = dict[str, Any]
Ask = Callable[[Inputs], Any]  # a network's output for its inputs by name


def traceable(network: Any, form: str) -> tuple[Any, Ask]:
    """Return a module that can be traced, and the function that runs it; the network itself does not change."""
    if form not in _FORMS:
        return network, lambda inputs: network(**inputs)
    changed = copy.deepcopy(network)
    return changed, _FORMS[form](changed)


def _banded(network: Any) -> Ask:
    """Longformer: attention over all pairs with the window as a mask, so that lengths need not be multiples of it."""
    model = getattr(network, network.base_model_prefix, network)
    model._pad_to_window_size = _unpadded  # noqa: SLF001
    for layer in model.encoder.layer:
        attention = layer.attention.self
        attention.forward = MethodType(_banded_attention, attention)
    if not hasattr(network, "qa_outputs"):
        return lambda inputs: network(**inputs)

    def ask(inputs: Inputs) -> Any:  # the tokens of a question are global; transformers finds them in the whole batch
        question = _place(inputs["input_ids"]) < _question_ends(network, inputs["input_ids"])
        return network(**inputs, global_attention_mask=question.to(inputs["input_ids"].dtype))

    return ask


def _place(ids: Any) -> Any:
    import torch

    return torch.arange(ids.shape[1], device=ids.device)[None]


def _question_ends(network: Any, ids: Any) -> Any:
    """Return the place of each row's first separator, [rows, 1]."""
    return (ids == network.config.sep_token_id).int().argmax(-1, keepdim=True)


def _unpadded(
    input_ids: Any, attention_mask: Any, token_type_ids: Any, position_ids: Any, inputs_embeds: Any, **_: Any
) -> tuple[Any, ...]:
    return 0, input_ids, attention_mask, token_type_ids, position_ids, inputs_embeds


def _banded_attention(
    self: Any,
    hidden_states: Any,
    attention_mask: Any = None,  # [rows, tokens]: below 0 masked, above 0 global
    is_index_masked: Any = None,
    is_index_global_attn: Any = None,
    is_global_attn: Any = None,
    output_attentions: bool = False,
) -> tuple[Any]:
    """Compute LongformerSelfAttention: each token sees its window and the global tokens, which see all tokens."""
    import torch

    del is_index_masked, is_index_global_attn, output_attentions
    rows, tokens, _ = hidden_states.shape

    def split(projected: Any) -> Any:
        return projected.view(rows, tokens, self.num_heads, self.head_dim).transpose(1, 2)

    def attend(query: Any, key: Any, value: Any, seen: Any) -> Any:
        scores = query @ key.transpose(2, 3) / math.sqrt(self.head_dim)
        scores = scores.masked_fill(~seen, torch.finfo(scores.dtype).min)
        return (scores.softmax(-1) @ value).transpose(1, 2).reshape(rows, tokens, self.embed_dim)

    place = torch.arange(tokens, device=hidden_states.device)
    window = (place[None, :] - place[:, None]).abs() <= self.one_sided_attn_window_size
    present, everywhere = (attention_mask >= 0)[:, None, None, :], (attention_mask > 0)[:, None, None, :]
    answer = attend(
        split(self.query(hidden_states)),
        split(self.key(hidden_states)),
        split(self.value(hidden_states)),
        (window[None, None] & present) | everywhere,
    )
    if is_global_attn:
        of_all = attend(
            split(self.query_global(hidden_states)),
            split(self.key_global(hidden_states)),
            split(self.value_global(hidden_states)),
            present.expand(rows, 1, tokens, tokens),
        )
        answer = torch.where((attention_mask > 0)[:, :, None], of_all, answer)
    return (answer,)


def _masked_fourier(network: Any) -> Ask:
    """FNet: the real part of the transform as products with cosines and sines, each row over its own tokens only."""
    model = getattr(network, network.base_model_prefix, network)
    masks: list[Any] = [None]  # of the current rows

    def transform(_: Any, hidden_states: Any) -> tuple[Any]:
        tokens, hidden = hidden_states.shape[1:]
        lengths = masks[0].sum(1).to(hidden_states.dtype)[:, None, None]
        inside = masks[0].to(hidden_states.dtype)
        cosine, sine = _waves(tokens, lengths, hidden_states)
        pairs = inside[:, :, None] * inside[:, None, :]
        cosine, sine = cosine * pairs, sine * pairs
        wide_cosine, wide_sine = _waves(hidden, float(hidden), hidden_states)
        return (cosine @ (hidden_states @ wide_cosine) - sine @ (hidden_states @ wide_sine),)

    for layer in model.encoder.layer:
        layer.fourier.self.forward = MethodType(transform, layer.fourier.self)

    def ask(inputs: Inputs) -> Any:
        masks[0] = inputs["attention_mask"]
        return network(**{name: each for name, each in inputs.items() if name != "attention_mask"})

    return ask


def _waves(size: int, period: Any, like: Any) -> tuple[Any, Any]:
    """Return cos and sin of 2 pi j k / period for j, k below size; the product is reduced first, to keep its digits."""
    import torch

    place = torch.arange(size, device=like.device).to(like.dtype)
    turns = place[:, None] * place[None, :]
    turns = (turns - torch.floor(turns / period) * period) / period
    return torch.cos(2 * math.pi * turns), torch.sin(2 * math.pi * turns)


def _end_of_text(network: Any) -> Ask:
    """BART and T5: the last end-of-text token of each row, independent of the other rows. Networks without the head
    that reads it do not change."""
    import torch

    if not hasattr(network, "classification_head"):
        return lambda inputs: network(**inputs)

    class Answer:
        """The only field that is read."""

        def __init__(self, logits: Any) -> None:
            self.logits = logits

    def ask(inputs: Inputs) -> Answer:
        ids = inputs["input_ids"]
        body = network.model if hasattr(network, "model") else network.transformer
        shifted = {} if hasattr(network, "model") else {"decoder_input_ids": network._shift_right(ids)}  # noqa: SLF001
        hidden = body(**inputs, **shifted, use_cache=False).last_hidden_state
        place = torch.arange(ids.shape[1], device=ids.device)
        last = ((ids == network.config.eos_token_id).to(torch.int64) * place).argmax(1)
        row = hidden[torch.arange(hidden.shape[0], device=ids.device), last]
        return Answer(network.classification_head(row))

    return ask


def _nothing_beyond(network: Any) -> Ask:
    """MobileBERT: each token sees its neighbours' embeddings, so padding must be zero, like the space after a text."""

    def ask(inputs: Inputs) -> Any:
        given = dict(inputs)
        embedded = network.get_input_embeddings()(given.pop("input_ids"))
        return network(inputs_embeds=embedded * given["attention_mask"].unsqueeze(-1).to(embedded.dtype), **given)

    return ask


def _full(network: Any) -> Ask:
    """BigBird is loaded with full attention, which transformers uses for texts of these lengths."""
    return lambda inputs: network(**completed(network, inputs))


def completed(network: Any, inputs: Inputs) -> Inputs:
    """Return the inputs of a network with those that transformers makes from them, for the networks whose outputs would
    otherwise hide differences: BigBird answers questions with logits that are lowered by a million."""
    if not hasattr(network, "qa_classifier"):
        return inputs
    ids = inputs["input_ids"]
    ends = _question_ends(network, ids)
    types = {"token_type_ids": (_place(ids) > ends).to(ids.dtype)}
    return types | inputs | {"question_lengths": ends * 0}


_FORMS: Final[dict[str, Callable[[Any], Ask]]] = {
    "banded attention": _banded,
    "end of text": _end_of_text,
    "full attention": _full,
    "masked Fourier": _masked_fourier,
    "nothing beyond": _nothing_beyond,
}
