"""Compute embeddings from token vectors and scores from logits: once for tracing, once for the gate.

The traced version works on batches with a mask, in torch; the reference on one row without padding, in numpy. Both
follow sentence-transformers: concatenated poolings, then its layers, then the first numbers of the vector.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.convert.encoders.sentence import HeadLayer, SentenceHead
from slipway.convert.libraries import cause_of
from slipway.errors import SlipwayError, invalid

_LOWEST: Final = -1e9  # stands for tokens that a maximum leaves out
_EPSILON: Final = 1e-12  # of torch's normalize


def activation(name: str) -> Any:
    """Return the activation of torch.nn with this class name; raise `SlipwayError` if there is none."""
    import torch

    found = getattr(torch.nn, name, None)
    try:
        made = found() if found is not None else None
    except TypeError:
        made = None
    if not isinstance(made, torch.nn.Module):
        raise invalid(f"the activation '{name}' is not a class of torch.nn that needs no arguments")
    return made.eval()


def build_layers(head: SentenceHead) -> Any:
    """Return the layers above the pooled vector as one torch module, their arrays loaded."""
    import torch

    return torch.nn.Sequential(*(_BUILDERS[layer.kind](layer) for layer in head.layers)).eval()


def _dense(layer: HeadLayer) -> Any:
    import torch

    settings = layer.settings
    arrays = _arrays(layer.path)
    name = str(settings.get("activation_function") or "torch.nn.modules.linear.Identity")
    if "activation_function" not in settings:
        name = "torch.nn.modules.activation.Tanh"  # sentence-transformers' default
    if not name.startswith("torch."):
        raise invalid(f"'{layer.path}': the activation '{name}' is custom code; supported: classes of torch.nn")
    size = (int(settings["in_features"]), int(settings["out_features"]))

    class Dense(torch.nn.Module):
        """A linear layer, an activation, and optionally a residual connection."""

        def __init__(self) -> None:
            super().__init__()
            self.linear = torch.nn.Linear(*size, bias=bool(settings.get("bias", True)))
            self.activation = activation(name.rpartition(".")[2])
            self.adds = bool(settings.get("use_residual"))
            if self.adds and size[0] != size[1]:
                self.residual = torch.nn.Linear(*size, bias=False)

        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.activation(self.linear(vectors))
            if not self.adds:
                return answer
            return answer + (self.residual(vectors) if hasattr(self, "residual") else vectors)

    return _loaded(Dense(), arrays, layer.path)


def _layer_norm(layer: HeadLayer) -> Any:
    import torch

    class LayerNorm(torch.nn.Module):
        """torch's LayerNorm, with the array names of sentence-transformers."""

        def __init__(self) -> None:
            super().__init__()
            self.norm = torch.nn.LayerNorm(int(layer.settings["dimension"]))

        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            answer: torch.Tensor = self.norm(vectors)
            return answer

    return _loaded(LayerNorm(), _arrays(layer.path), layer.path)


def _normalize(_: HeadLayer) -> Any:
    import torch

    class Normalize(torch.nn.Module):
        """Scale each vector to length one."""

        def forward(self, vectors: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.normalize(vectors, dim=-1, eps=_EPSILON)

    return Normalize()


def _loaded(module: Any, arrays: dict[str, Any], path: Path) -> Any:
    """Return the module with exactly these arrays; raise `SlipwayError` if one is missing, unexpected or misshapen."""
    try:
        module.load_state_dict({name: array.float() for name, array in arrays.items()})
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise invalid(f"'{path}' does not hold the arrays its config.json describes: {reason}") from error
    return module


def _arrays(path: Path) -> dict[str, Any]:
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if (path / "model.safetensors").exists():
            return dict(load_file(path / "model.safetensors"))
        return dict(torch.load(path / "pytorch_model.bin", map_location="cpu", weights_only=True))
    except FileNotFoundError:
        raise invalid(f"'{path}' has no model.safetensors and no pytorch_model.bin") from None
    except (OSError, SafetensorError, RuntimeError, ValueError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: BaseException) -> SlipwayError:
    return invalid(f"the arrays of '{path}' cannot be read: {cause_of(error)}")


_BUILDERS: Final = {"Dense": _dense, "LayerNorm": _layer_norm, "Normalize": _normalize}


def embed(head: SentenceHead, layers: Any, hidden: Any, mask: Any, prompt_tokens: int, width: int) -> Any:
    """Return the embeddings [rows, width] of padded token vectors [rows, tokens, hidden], in torch."""
    import torch

    kept = mask
    if head.skips_prompt and prompt_tokens:
        kept = mask * (torch.arange(mask.shape[1], device=mask.device) >= prompt_tokens).to(mask.dtype)
    weights = kept.unsqueeze(-1).to(hidden.dtype)
    vectors = layers(torch.cat([_POOLINGS[mode](hidden, kept, weights) for mode in head.poolings], -1))
    # Explicit, because some networks compute their shapes, and the graph would not know the width of its vectors.
    return (vectors[:, : head.truncate] if head.truncate else vectors).reshape(-1, width)


def _first(hidden: Any, kept: Any, _: Any) -> Any:
    return _at(hidden, kept.to(hidden.dtype).argmax(1))


def _last(hidden: Any, kept: Any, _: Any) -> Any:
    import torch

    place = torch.arange(kept.shape[1], device=kept.device)
    return _at(hidden, (kept * place).argmax(1))


def _at(hidden: Any, place: Any) -> Any:
    import torch

    return hidden[torch.arange(hidden.shape[0], device=hidden.device), place]


def _largest(hidden: Any, _: Any, weights: Any) -> Any:
    import torch

    return torch.where(weights > 0, hidden, torch.full_like(hidden, _LOWEST)).amax(1)


def _mean(hidden: Any, _: Any, weights: Any) -> Any:
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9)


def _mean_sqrt(hidden: Any, _: Any, weights: Any) -> Any:
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1e-9).sqrt()


def _weighted_mean(hidden: Any, _: Any, weights: Any) -> Any:
    import torch

    places = weights * torch.arange(1, hidden.shape[1] + 1, device=hidden.device).to(hidden.dtype)[None, :, None]
    return (hidden * places).sum(1) / places.sum(1).clamp(min=1e-9)


_POOLINGS: Final = {
    "cls": _first,
    "lasttoken": _last,
    "max": _largest,
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_sqrt,
    "weightedmean": _weighted_mean,
}


def embed_row(head: SentenceHead, layers: Any, hidden: np.ndarray, prompt_tokens: int) -> np.ndarray:
    """Return the embedding of one text's token vectors [tokens, hidden], without padding."""
    import torch

    begin = prompt_tokens if head.skips_prompt else 0
    kept = hidden[begin:]
    places = np.arange(begin + 1, len(hidden) + 1, dtype=hidden.dtype)[:, None]
    pooled = {
        "cls": lambda: kept[0],
        "lasttoken": lambda: kept[-1],
        "max": lambda: kept.max(0),
        "mean": lambda: kept.mean(0),
        "mean_sqrt_len_tokens": lambda: kept.sum(0) / np.sqrt(len(kept)),
        "weightedmean": lambda: (kept * places).sum(0) / places.sum(),
    }
    vector = np.concatenate([pooled[mode]() for mode in head.poolings])
    with torch.inference_mode():
        answer = layers(torch.from_numpy(vector)[None])[0].numpy()
    return np.asarray(answer[: head.truncate] if head.truncate else answer)
