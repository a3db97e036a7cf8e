"""Read a native fairseq Transformer (`checkpoint_best.pt`): a state dict and the arguments of its training.

The file is read with torch's restricted unpickler: the only allowed class is `argparse.Namespace`, in which fairseq
kept its arguments. Needs torch; the exporter imports it on demand.
"""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from math import sqrt
from pathlib import Path
from typing import Any, Final
from zipfile import is_zipfile

import numpy as np
import torch

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.sinusoidal_positions import fairseq_positions
from slipway.errors import invalid, shown, unsupported
from slipway.transformer.spec import Activation, Stack, Transformer, standard_scale
from slipway.transformer.weights import Array, Weights, check_complete, expected_shapes

PADDING: Final = 1  # in every fairseq dictionary
END: Final = 2  # fairseq begins and ends a target with it
_EPSILON: Final = 1e-5
_ACTIVATIONS: Final = {"relu": Activation.RELU, "gelu": Activation.GELU}
_UNUSED: Final = (".version", "._float_tensor")  # markers and a buffer without an effect
_LAYER: Final = {
    "self_attention.query": "self_attn.q_proj",
    "self_attention.key": "self_attn.k_proj",
    "self_attention.value": "self_attn.v_proj",
    "self_attention.output": "self_attn.out_proj",
    "self_attention.norm": "self_attn_layer_norm",
    "cross_attention.query": "encoder_attn.q_proj",
    "cross_attention.key": "encoder_attn.k_proj",
    "cross_attention.value": "encoder_attn.v_proj",
    "cross_attention.output": "encoder_attn.out_proj",
    "cross_attention.norm": "encoder_attn_layer_norm",
    "feed_forward.up": "fc1",
    "feed_forward.down": "fc2",
    "feed_forward.norm": "final_layer_norm",
}
_OUTER: Final = {
    "embedding.tokens": "embed_tokens.weight",
    "embedding.positions": "embed_positions.weight",
    "embedding.norm.scale": "layernorm_embedding.weight",
    "embedding.norm.bias": "layernorm_embedding.bias",
    "final_norm.scale": "layer_norm.weight",
    "final_norm.bias": "layer_norm.bias",
}
_HEAD: Final = "decoder.output_projection.weight"


def read_fairseq(path: Path, max_step: int) -> Checkpoint:
    """Return the checkpoint in `path`, with sinusoidal positions computed for `max_step` tokens.

    Raise INVALID_ARG if it is not such a file or if arrays are missing, unused or misshapen (all at once), UNSUPPORTED
    for an architecture that is not an encoder-decoder Transformer.
    """
    loaded = _load(path)
    arguments = _arguments(path, loaded)
    state = loaded.get("model")
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise invalid(f"'{path}' has no state dict under 'model'")
    tensors = {str(name): value for name, value in state.items() if not str(name).endswith(_UNUSED)}
    model = _Model(str(path), arguments, tensors, max_step)
    weights = Weights(model.arrays())
    check_complete(model.spec, weights, str(path))
    return Checkpoint(str(path), model.spec, weights)


def _load(path: Path) -> Mapping[str, Any]:
    try:
        with torch.serialization.safe_globals([Namespace]):
            loaded = torch.load(path, map_location="cpu", weights_only=True, mmap=is_zipfile(path))
    except Exception as error:  # its unpickler raises whatever the steps of a damaged pickle lead to
        reason = " ".join(str(error).split())[:300]
        raise invalid(
            f"'{path}' is not a fairseq checkpoint that can be read without running its code: {reason}"
        ) from error
    if not isinstance(loaded, dict):
        raise invalid(f"'{path}' is not a fairseq checkpoint: expected a dict with 'args' and 'model'")
    return loaded


def _arguments(path: Path, loaded: Mapping[str, Any]) -> dict[str, Any]:
    """Return the training's arguments: under 'args', or since fairseq 0.10 under 'cfg'."""
    found = loaded.get("args")
    if found is None and isinstance(loaded.get("cfg"), dict):
        found = loaded["cfg"].get("model")
    if isinstance(found, Namespace):
        found = vars(found)
    if not isinstance(found, dict):
        raise invalid(f"'{path}' is not a fairseq checkpoint: it has no arguments under 'args' (or 'cfg')")
    return found


@dataclass(frozen=True, slots=True)
class _Model:
    """One opened checkpoint."""

    source: str
    arguments: Mapping[str, Any]
    tensors: Mapping[str, torch.Tensor]
    max_step: int

    @property
    def spec(self) -> Transformer:
        """The architecture that follows from the arguments and arrays."""
        tied = _HEAD not in self.tensors or torch.equal(
            self.tensors[_HEAD], self._tensor("decoder.embed_tokens.weight")
        )
        return Transformer(
            encoder=self._stack("encoder"), decoder=self._stack("decoder"), tied_head=tied, start_id=END, end_id=END
        )

    def arrays(self) -> dict[str, Array]:
        """Return the canonical arrays; raise INVALID_ARG naming all missing or unused arrays."""
        spec = self.spec
        names = {canonical: _fairseq_name(canonical) for canonical in expected_shapes(spec)}
        arrays: dict[str, Array] = {}
        missing = []
        for canonical, name in names.items():
            stack = spec.encoder if canonical.startswith("encoder") else spec.decoder
            if name in self.tensors:
                arrays[canonical] = self._array(canonical, self.tensors[name])
            elif canonical.endswith("embedding.positions") and stack is not None:
                shape = (stack.position_rows, stack.hidden)
                arrays[canonical] = Array(shape, partial(fairseq_positions, *shape, PADDING + 1))
            else:
                missing.append(f"missing: {name}")
        left = [f"unused: {name}" for name in self.tensors if name not in {*names.values(), _HEAD}]
        if missing or left:
            raise invalid(
                f"'{self.source}' is not the fairseq Transformer that its arguments describe:\n  "
                + "\n  ".join([*missing, *left])
            )
        return arrays

    def _array(self, canonical: str, tensor: torch.Tensor) -> Array:
        if canonical.endswith("embedding.positions"):
            tensor = tensor[PADDING + 1 :]  # real positions begin after the padding's row
        return Array(tuple(tensor.shape), partial(_numpy, tensor))

    def _stack(self, name: str) -> Stack:
        tokens = self._tensor(f"{name}.embed_tokens.weight")
        layers = self._layers(name)
        inner = self._tensor(f"{name}.layers.0.fc1.weight").shape[0]
        hidden = tokens.shape[1]
        heads = self._argument(f"{name}_attention_heads", int)
        pre_norm = bool(self.arguments.get(f"{name}_normalize_before", False))
        activation = str(self.arguments.get("activation_fn", "relu"))
        if activation not in _ACTIVATIONS:
            raise unsupported(f"'{self.source}': activation_fn is '{activation}', expected {', '.join(_ACTIVATIONS)}")
        positions = f"{name}.embed_positions.weight"
        learned = self._tensor(positions) if positions in self.tensors else None
        if heads < 1 or hidden % heads:
            raise invalid(f"'{self.source}': {name}_attention_heads is {heads}, which does not divide {hidden}")
        return Stack(
            layers=layers,
            hidden=hidden,
            heads=heads,
            head_size=hidden // heads,
            inner=inner,
            vocabulary=tokens.shape[0],
            norm_epsilon=_EPSILON,
            pre_norm=pre_norm,
            activation=_ACTIVATIONS[activation],
            position_rows=self.max_step if learned is None else len(learned) - PADDING - 1,
            embedding_scale=1.0 if self.arguments.get("no_scale_embedding") else sqrt(hidden),
            embedding_norm=f"{name}.layernorm_embedding.weight" in self.tensors,
            final_norm=f"{name}.layer_norm.weight" in self.tensors,
            attention_scale=standard_scale(hidden // heads),
        )

    def _layers(self, name: str) -> int:
        """Return the number of layers, which are numbered from 0 without a gap."""
        found = {each.split(".")[2] for each in self.tensors if each.startswith(f"{name}.layers.")}
        if found != {str(number) for number in range(len(found))}:
            listed = shown(", ".join(sorted(found)))
            raise invalid(f"'{self.source}': the layers of the {name} are not numbered from 0: {listed}")
        return len(found)

    def _tensor(self, name: str) -> torch.Tensor:
        tensor = self.tensors.get(name)
        if tensor is None or tensor.ndim != 2:
            raise invalid(f"'{self.source}' is not a fairseq Transformer with encoder and decoder: it lacks '{name}'")
        return tensor

    def _argument(self, name: str, kind: type[int]) -> int:
        value = self.arguments.get(name)
        if not isinstance(value, kind):
            raise invalid(f"'{self.source}': argument '{name}' is {value!r}, expected a whole number")
        return value


def _fairseq_name(canonical: str) -> str:
    if canonical == "head.weight":
        return _HEAD
    stack, _, rest = canonical.partition(".")
    if rest in _OUTER:
        return f"{stack}.{_OUTER[rest]}"
    _, layer, block, *part, kind = rest.split(".")
    module = _LAYER[".".join([block, *part])]
    return f"{stack}.layers.{layer}.{module}.{'weight' if kind == 'scale' else kind}"


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return np.asarray(tensor.detach().float().numpy())
