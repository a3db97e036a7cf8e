"""The torch network of a checkpoint that sees images, as a module to trace and as the reference for its outputs.

`transformers` computes the network. Only the choice of its outputs and the length of vectors are implemented here, once
in torch for the trace and once in numpy for the reference.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from slipway.convert.arrays import Arrays
from slipway.convert.directory import Task
from slipway.convert.libraries import cause_of, load_pretrained
from slipway.convert.vision.source import VisionSource
from slipway.errors import invalid

EMBEDDING, UNIT_EMBEDDING = "embedding", "unit_embedding"
_DECIDED: Final = 1e-5  # relative difference of scores that engines compute in the same order
_EPSILON: Final = 1e-12  # of torch's normalize
# Arrays that other versions of transformers stored, and that are computed.
_BUFFERS: Final = (
    "position_ids", "relative_position_index", "relative_coords_table", "num_batches_tracked", "attn_mask", "anchors",
    "valid_mask", "n_points_scale",
)  # fmt: skip
_UNUSED: Final = ("pooler.", "mask_token")  # of networks that were trained for another task before

Call = Callable[..., Sequence[Any]]  # the network, and tensors by name -> the tensors of the outputs


@dataclass(frozen=True, slots=True)
class ImageNetwork:
    """A network of one or several inputs, in the order of `inputs`, and the outputs named `outputs`. `call` computes
    them from tensors by name, apart from vectors of length one; `module` computes all of them from positional ones."""

    module: Any
    call: Call
    network: Any
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    def reference(self, arrays: Arrays) -> Arrays:
        """Return the outputs for these inputs; raise `SlipwayError` if the network fails."""
        import torch

        tensors = {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
        try:
            with torch.inference_mode():
                answers = self.call(self.network, **tensors)
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            shapes = {name: list(array.shape) for name, array in arrays.items()}
            raise invalid(f"transformers cannot compute {shapes}: {cause_of(error)}") from error
        found = {name: each.float().numpy() for name, each in zip(self.outputs, answers, strict=False)}
        if UNIT_EMBEDDING in self.outputs:
            found[UNIT_EMBEDDING] = unit_length(found[EMBEDDING])
        return found


def is_decided(network: Any, row: Arrays) -> bool:
    """Return whether a detector's choice of queries in an image does not hang on a rounding error: the scores of the
    last place that it takes and of the next one differ. Flat areas of an image have places with the same score."""
    import torch

    with torch.inference_mode():
        answer = network(**{name: torch.from_numpy(array) for name, array in row.items()})
    scores = np.sort(answer.enc_outputs_class[0].max(-1).values.double().numpy())[::-1]
    taken = answer.logits.shape[1]
    if taken >= len(scores):
        return True
    return bool(scores[taken - 1] - scores[taken] > _DECIDED * max(1.0, abs(scores[taken])))


def unit_length(vectors: np.ndarray) -> np.ndarray:
    """Return vectors FP32 [rows, width] scaled to length one."""
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return np.asarray(vectors / np.maximum(lengths, _EPSILON), np.float32)


def load_network(source: VisionSource) -> tuple[Any, list[str]]:
    """Return the checkpoint as a torch module in FP32, and notes on what of it is not used; raise `SlipwayError` if an
    array is missing, misshapen or would change the outputs."""
    network, report = load_pretrained(
        source.auto_class,
        source.directory,
        use_safetensors=True if any(source.directory.glob("*.safetensors")) else None,
        ignore_mismatched_sizes=True,  # so that the report names them
        attn_implementation="eager",  # the form of attention that onnxruntime and OpenVINO recognise
        output_loading_info=True,
    )
    return network.eval(), check_arrays(report, source.directory)


def check_arrays(report: Mapping[str, Any], directory: Path) -> list[str]:
    """Return notes on unused arrays; raise `SlipwayError` for missing and misshapen ones, and for unused ones that the
    network would need if its config.json described all of it."""
    missing = sorted(str(key) for key in report["missing_keys"])
    misshapen = sorted(str(key[0]) for key in report["mismatched_keys"])
    if missing or misshapen:
        names, kind = (missing, "missing") if missing else (misshapen, "misshapen")
        raise invalid(f"the checkpoint in '{directory}' has {len(names)} {kind} arrays, first '{names[0]}'")
    unexpected = sorted(str(key) for key in report["unexpected_keys"] if not str(key).endswith(_BUFFERS))
    spare = [name for name in unexpected if not any(part in name for part in _UNUSED)]
    if spare:
        raise invalid(
            f"the checkpoint in '{directory}' has {len(spare)} arrays that are not used, first '{spare[0]}': "
            f"config.json describes a smaller or a different network"
        )
    return [f"the checkpoint's {', '.join(unexpected)} are not used"] if unexpected else []


def image_network(source: VisionSource, network: Any) -> ImageNetwork:
    """Return the network with the outputs of its task."""
    masked = source.detector is not None and source.detector.masked
    inputs = ("pixel_values", *(("pixel_mask",) if masked else ()))
    return build(_CALLS[source.task], inputs, _OUTPUTS[source.task], network)


def text_network(source: VisionSource, network: Any) -> ImageNetwork:
    """Return the side of a network that reads texts."""
    inputs = ("input_ids", *(() if source.fixed_text else ("attention_mask",)))
    return build(_text_features, inputs, _OUTPUTS[source.task], network)


def build(call: Call, inputs: tuple[str, ...], outputs: tuple[str, ...], network: Any) -> ImageNetwork:
    """Return the network whose outputs `call` computes from it and from tensors named `inputs`."""
    import torch

    class Traced(torch.nn.Module):
        """The network with positional inputs and a tuple of FP32 outputs."""

        def __init__(self) -> None:
            super().__init__()
            self.network = network

        def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
            answers = tuple(call(self.network, **dict(zip(inputs, tensors, strict=True))))
            if UNIT_EMBEDDING in outputs:
                return (*answers, torch.nn.functional.normalize(answers[0], dim=-1, eps=_EPSILON))
            return answers

    return ImageNetwork(Traced().eval(), call, network, inputs, outputs)


def _logits(network: Any, **inputs: Any) -> Sequence[Any]:
    return (network(**inputs).logits,)


def _objects(network: Any, **inputs: Any) -> Sequence[Any]:
    answer = network(**inputs)
    return answer.logits, answer.pred_boxes


def _image_features(network: Any, **inputs: Any) -> Sequence[Any]:
    return (_vectors(network.get_image_features(**inputs)),)


def _text_features(network: Any, **inputs: Any) -> Sequence[Any]:
    return (_vectors(network.get_text_features(**inputs)),)


def _vectors(answer: Any) -> Any:
    """Return the vectors, which transformers before version 5 returns without the object around them."""
    return getattr(answer, "pooler_output", answer)


_CALLS: Final[Mapping[Task, Call]] = {
    Task.IMAGE_CLASSIFICATION: _logits,
    Task.OBJECT_DETECTION: _objects,
    Task.IMAGE_EMBEDDING: _image_features,
}
_OUTPUTS: Final[Mapping[Task, tuple[str, ...]]] = {
    Task.IMAGE_CLASSIFICATION: ("logits",),
    Task.OBJECT_DETECTION: ("logits", "pred_boxes"),
    Task.IMAGE_EMBEDDING: (EMBEDDING, UNIT_EMBEDDING),
    Task.TEXT_EMBEDDING: (EMBEDDING, UNIT_EMBEDDING),
}
