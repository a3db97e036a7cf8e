"""Write a checkpoint as a LightSeq file, float or 8-bit, `.pb` or `.hdf5`: the whole file or nothing.

Arrays are made and written one at a time. `layout.py` knows which canonical arrays go into which array of the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.lightseq.conf import LightSeqConf
from slipway.checkpoints.lightseq.contents import OutputArray, OutputFile, Setting
from slipway.checkpoints.lightseq.hdf5 import write_hdf5
from slipway.checkpoints.lightseq.layout import ArraySlot, array_slots
from slipway.checkpoints.lightseq.protobuf import message_size, write_protobuf
from slipway.checkpoints.lightseq.quantise import quantise, weight_clip
from slipway.checkpoints.lightseq.reader import FORMATS, schema_of
from slipway.checkpoints.lightseq.schema import FieldKind, MessageSchema
from slipway.checkpoints.lightseq.target import LightSeqTarget, make_target, no_scale_embedding
from slipway.errors import invalid, unsupported
from slipway.transformer.spec import Activation, Experts, Gate
from slipway.transformer.weights import expected_shapes

ACTIVATION_CLIP: Final = 16.0  # 45.0 for native fairseq models
_PROTOBUF_LIMIT: Final = 1 << 31  # protobuf cannot read messages of 2 GiB
_WRITERS: Final[dict[str, Callable[[Path, MessageSchema, OutputFile], None]]] = {
    ".pb": write_protobuf,
    ".hdf5": write_hdf5,
}


def write_lightseq(
    path: Path,
    checkpoint: Checkpoint,
    conf: LightSeqConf,
    *,
    activation_clip: float = ACTIVATION_CLIP,
) -> Path:
    """Write `checkpoint` as `conf.model_type` and return the file, which is `.hdf5` if it is too large for `.pb`.

    8-bit types are quantised after training; `activation_clip` is the clip of every activation, which LightSeq's
    own engine uses. Raise UNSUPPORTED with all reasons if the format cannot represent the model.
    """
    schema = schema_of(conf.model_type)
    if path.suffix not in FORMATS:
        raise unsupported(f"'{path}' has the extension '{path.suffix}'. Supported extensions are: {', '.join(FORMATS)}")
    target = make_target(checkpoint, conf)
    output = _output(schema, target, conf, activation_clip)
    if path.suffix == ".pb" and message_size(schema, output) >= _PROTOBUF_LIMIT:
        path = path.with_suffix(".hdf5")
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        _WRITERS[path.suffix](temporary, schema, output)
        temporary.replace(path)
    except BaseException:  # including an interruption
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise
    return path


def _output(schema: MessageSchema, target: LightSeqTarget, conf: LightSeqConf, activation_clip: float) -> OutputFile:
    layers = {"encoder_stack": target.spec.input_stack.layers}  # a decoder-only model is also stored there
    if target.spec.encoder is not None and target.spec.decoder is not None:
        layers["decoder_stack"] = target.spec.decoder.layers
    leaves = dict(schema.leaves(layers))
    clips: dict[str, float] = {}
    output = OutputFile({}, settings(target, conf), layers)
    for slot in array_slots(target.spec, transposed_tokens=conf.model_type == "QuantGpt"):
        if leaves[slot.path].kind is FieldKind.FLOATS:
            output.arrays[slot.path] = OutputArray(slot.size, 4, _floats(target, slot))
            continue
        output.arrays[slot.path] = OutputArray(slot.size, 1, _quantised(target, slot, clips))
        if leaves[slot.clip_path].kind is FieldKind.FLOATS:
            output.arrays[slot.clip_path] = OutputArray(slot.shape[1], 4, partial(_repeated, clips, slot))
        else:
            output.late[slot.clip_path] = partial(clips.__getitem__, slot.clip_path)
    for path in leaves:
        if path.endswith("_clip_max") and path not in output.late and _is_activation(path, layers):
            output.late[path] = partial(float, activation_clip)
    return output


def _repeated(clips: dict[str, float], slot: ArraySlot) -> np.ndarray:
    """Return the clip of an array of all layers, repeated for each layer."""
    return np.full(slot.shape[1], clips[slot.clip_path], np.float32)


def _is_activation(path: str, layers: dict[str, int]) -> bool:
    """Return whether a clip belongs to an activation: a source embedding has no logits."""
    source = path.startswith("src_embedding/") and "decoder_stack" in layers
    return not source and not path.endswith("kernel_kv_clip_max")


def _floats(target: LightSeqTarget, slot: ArraySlot) -> Callable[[], np.ndarray]:
    """Return the function that makes an array of the file from the canonical ones, flat float32."""
    shapes = expected_shapes(target.spec)

    def make() -> np.ndarray:
        whole = slot.parts[0]
        if len(slot.parts) == 1 and not whole.swapped and not whole.place:
            return np.ascontiguousarray(target.read(whole.name, shapes[whole.name])).reshape(-1)
        array = np.empty(slot.shape, np.float32)
        for part in slot.parts:
            part.cut(array)[...] = target.read(part.name, shapes[part.name])
        return array.reshape(-1)

    return make


def _quantised(target: LightSeqTarget, slot: ArraySlot, clips: dict[str, float]) -> Callable[[], np.ndarray]:
    """Return the function that makes an array of bytes and records its clip, which is stored after the array."""
    read = _floats(target, slot)

    def make() -> np.ndarray:
        values = read()
        if not np.isfinite(values).all():
            raise invalid(f"{slot.path} has values that are not finite and cannot be quantised")
        if slot.field == "token_embedding":
            values = values.astype(np.float16).astype(np.float32)
        clips[slot.clip_path] = clip = float(np.float32(weight_clip(values)))
        return quantise(values, clip)

    return make


def settings(target: LightSeqTarget, conf: LightSeqConf) -> dict[str, Setting]:
    """Return the fields of model_conf and lang2gate for the file."""
    spec = target.spec
    stack = spec.input_stack
    everything: dict[str, Setting] = {
        "head_num": stack.heads,
        "beam_size": conf.beam_size,
        "extra_decode_length": conf.extra_decode_length,
        "length_penalty": conf.length_penalty,
        "src_padding_id": conf.padding_id,
        "trg_start_id": conf.start_id,
        "diverse_lambda": conf.diverse_lambda,
        "sampling_method": conf.sampling_method,
        "topp": conf.topp,
        "topk": conf.topk,
        "trg_end_id": conf.end_id,
        "eos_id": conf.end_id,
        # T5 files say post-norm, which has no effect.
        "is_post_ln": not stack.pre_norm or conf.base_type in ("T5", "MT5"),
        "no_scale_embedding": no_scale_embedding(spec) or conf.base_type in ("T5", "MT5"),
        "use_gelu": stack.activation is not Activation.RELU,
        "multilg_type": conf.multilg_type,
        "max_step": conf.max_step,
    }
    if stack.vision is not None:
        everything |= {"image_size": stack.vision.image_size, "patch_size": stack.vision.patch_size}
    found = {f"model_conf/{name}": value for name, value in everything.items()}
    if conf.base_type != "Moe":
        return found
    experts = {"encoder": spec.encoder, "decoder": spec.decoder}
    for name, each in experts.items():
        found |= _experts(name, each.experts if each is not None else None)
    gates = [each.experts.gate for each in experts.values() if each is not None and each.experts is not None]
    found["model_conf/gate_type"] = int(Gate.HARD in gates)
    found["lang2gate/langs"] = tuple(language for language, _ in spec.language_experts)
    found["lang2gate/gates"] = tuple(expert for _, expert in spec.language_experts)
    return found


def _experts(name: str, experts: Experts | None) -> dict[str, Setting]:
    return {
        f"model_conf/expert_num_{name}": experts.count if experts else 0,
        f"model_conf/moe_topk_{name}": experts.top_k if experts else 0,
        f"model_conf/moe_list_{name}": experts.layers if experts else (),
    }
