"""The architecture that a LightSeq file implies: sizes come from the lengths of its arrays, the rest from model_conf.

Reads no array. All problems are collected; those of single arrays are found by `reader.py`, which checks each array
against the shape that follows from here.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import Any, Final

from slipway.checkpoints.lightseq.conf import LightSeqConf, conf_problems, read_conf
from slipway.checkpoints.lightseq.contents import FileContents
from slipway.errors import invalid
from slipway.transformer.spec import (
    Activation,
    Experts,
    Gate,
    Languages,
    Norm,
    Positions,
    Stack,
    Transformer,
    Vision,
    standard_scale,
)

T5_BUCKETS: Final = 32
T5_MAX_DISTANCE: Final = 128
_T5_TYPES: Final = ("T5", "MT5")
_ENCODER_ONLY: Final = ("Bert", "Vit")
_EPSILON: Final = 1e-12
_T5_EPSILON: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Architecture:
    """The architecture that a file describes, and its problems so far."""

    spec: Transformer
    conf: LightSeqConf
    problems: list[str]


def describe(model_type: str, contents: FileContents, norm_epsilon: float | None) -> Architecture:
    """Return the architecture of a file; raise INVALID_ARG when the sizes that all others depend on are missing.

    Here the token tables of source and target are separate, even if they are equal.
    """
    sizes = _Sizes(model_type.removeprefix("Quant"), contents)
    problems = sizes.problems()
    if problems:
        raise refuse(contents.source, problems)
    conf = read_conf(model_type, contents, max_step=sizes.max_step, vocabulary=sizes.target_vocabulary)
    problems = conf_problems(conf)
    epsilon = norm_epsilon or (_T5_EPSILON if sizes.base in _T5_TYPES else _EPSILON)
    common = _common(sizes, contents, epsilon)
    if sizes.base == "Vit":
        return Architecture(_images(sizes, common, problems), conf, problems)
    common["padding_id"] = conf.padding_id
    if sizes.base == "Bert":
        return Architecture(Transformer(encoder=Stack(**common, **sizes.source)), conf, problems)
    if sizes.base == "Gpt":
        spec = Transformer(decoder=Stack(**common, **sizes.source), start_id=conf.end_id, end_id=conf.end_id)
        return Architecture(spec, conf, problems)
    return Architecture(_both(sizes, common, conf, problems), conf, problems)


def refuse(source: str, problems: list[str]) -> Exception:
    """Return the error for a file with `problems`."""
    return invalid(f"'{source}' is not a valid model of its type:\n  " + "\n  ".join(problems))


class _Sizes:
    """The sizes that everything else depends on. If an array is missing, the size is taken from another one, so that
    the check of single arrays can name the missing one; it is 1 if there is no other."""

    def __init__(self, base: str, contents: FileContents) -> None:
        self.contents = contents
        self.base = base
        self.encoder_layers = contents.layers.get("encoder_stack", 0)
        self.decoder_layers = contents.layers.get("decoder_stack", 0)
        self.decodes = base not in (*_ENCODER_ONLY, "Gpt")
        self.outer = "trg_embedding" if self.decodes else "src_embedding"
        last = f"{self.outer}/{'cls_embedding' if base == 'Vit' else 'norm_scale'}"
        self.hidden_path = last
        self.hidden = contents.size(last) or contents.size("encoder_stack/0/multihead_norm_scale")
        self.heads = contents.whole("model_conf/head_num")
        if self.hidden and not self.problems():
            self.inner = self._inner()
            self.max_step = self._max_step()
            self.target_vocabulary = self.rows(f"{self.outer}/token_embedding")
            self.source: dict[str, Any] = {
                "layers": self.encoder_layers,
                "vocabulary": self.rows("src_embedding/token_embedding"),
            }
            self.target: dict[str, Any] = {"layers": self.decoder_layers, "vocabulary": self.target_vocabulary}

    def problems(self) -> list[str]:
        """Return the problems that make it impossible to describe an architecture at all."""
        if not self.hidden:
            return [f"Wrong {self.hidden_path.rpartition('/')[2]}_size ! {self.hidden_path} is missing"]
        found = []
        if self.hidden % 4:
            found.append(f"hidden_size is {self.hidden}, expected a multiple of 4 ({self.hidden_path})")
        if self.heads < 1 or self.hidden % self.heads:
            found.append(f"Wrong head_num: hidden_size {self.hidden} % head_num {self.heads} != 0")
        if not self.encoder_layers:
            found.append("encoder_stack has no layers")
        if self.decodes and not self.decoder_layers:
            found.append("decoder_stack has no layers")
        return found

    def rows(self, path: str) -> int:
        return max(self.contents.size(path) // self.hidden, 1)

    def _inner(self) -> int:
        layer, experts = ("decoder_stack/0", "decoder") if self.decodes else ("encoder_stack/0", "encoder")
        count = 1
        if self.base == "Moe" and 0 in self.contents.list(f"model_conf/moe_list_{experts}"):
            count = max(self.contents.whole(f"model_conf/expert_num_{experts}"), 1)
        kernel = self.contents.size(f"{layer}/ffn_first_kernel") // (self.hidden * count)
        return kernel or max(self.contents.size(f"{layer}/ffn_first_bias") // count, 1)

    def _max_step(self) -> int:
        if self.base in _T5_TYPES:
            return self.contents.whole("model_conf/max_step")
        return self.rows(f"{self.outer}/position_embedding")


def _common(sizes: _Sizes, contents: FileContents, epsilon: float) -> dict[str, Any]:
    """Return the settings that all stacks of a file share."""
    head_size = sizes.hidden // sizes.heads
    same: dict[str, Any] = {
        "hidden": sizes.hidden,
        "heads": sizes.heads,
        "head_size": head_size,
        "inner": sizes.inner,
        "norm_epsilon": epsilon,
    }
    if sizes.base in _T5_TYPES:  # is_post_ln is set in their files but has no meaning
        return same | {
            "norm": Norm.RMS,
            "pre_norm": True,
            "final_norm": True,
            "activation": Activation.GELU_TANH if sizes.base == "MT5" else Activation.RELU,
            "gated": sizes.base == "MT5",
            "attention_bias": False,
            "feed_forward_bias": False,
            "positions": Positions.RELATIVE,
            "relative_buckets": T5_BUCKETS,
            "relative_max_distance": T5_MAX_DISTANCE,
            "attention_scale": 1.0,
        }
    post = sizes.base != "Gpt" and contents.flag("model_conf/is_post_ln")
    gelu = sizes.base == "Gpt" or contents.flag("model_conf/use_gelu")
    return same | {
        "pre_norm": not post,
        "embedding_norm": post,
        "final_norm": not post,
        "activation": Activation.GELU_TANH if gelu else Activation.RELU,
        "position_rows": sizes.max_step,
        "attention_scale": standard_scale(head_size),
    }


def _images(sizes: _Sizes, common: dict[str, Any], problems: list[str]) -> Transformer:
    image, patch = (sizes.contents.whole(f"model_conf/{name}") for name in ("image_size", "patch_size"))
    if patch < 1 or image < patch:
        problems.append(f"image_size is {image} and patch_size {patch}, expected images of at least one patch")
        image = patch = 1
    channels = max(sizes.contents.size("src_embedding/conv_weight") // (sizes.hidden * patch * patch), 1)
    vision = Vision(image, patch, channels)
    common["position_rows"] = vision.tokens
    return Transformer(encoder=Stack(**common, layers=sizes.encoder_layers, vocabulary=0, vision=vision))


def _both(sizes: _Sizes, common: dict[str, Any], conf: LightSeqConf, problems: list[str]) -> Transformer:
    contents, hidden = sizes.contents, sizes.hidden
    mode = Languages(conf.multilg_type) if conf.multilg_type in range(4) else Languages.NONE
    rows = {
        group: sizes.rows(f"{group}/lang_emb") if mode is not Languages.NONE else 0
        for group in ("src_embedding", "trg_embedding")
    }
    # 8-bit tables contain the embedding itself; the engine always multiplies, regardless of no_scale_embedding.
    common["embedding_scale"] = sqrt(hidden) if conf.quantised else 1.0
    encoder_experts, decoder_experts, by_language = _experts(sizes, contents, problems)
    encoder = Stack(**common, **sizes.source, languages=rows["src_embedding"], experts=encoder_experts)
    common["padding_id"] = None  # the decoder never sees padding
    decoder = Stack(**common, **sizes.target, languages=rows["trg_embedding"], experts=decoder_experts)
    return Transformer(
        encoder=encoder,
        decoder=decoder,
        tied_head=conf.base_type != "MT5",
        head_bias=conf.base_type not in _T5_TYPES,
        logit_scale=_logit_scale(contents, conf, hidden),
        start_id=conf.start_id,
        end_id=conf.end_id,
        language_mode=mode,
        language_experts=by_language,
    )


def _logit_scale(contents: FileContents, conf: LightSeqConf, hidden: int) -> float:
    if conf.base_type == "T5":
        return float(hidden**-0.5)
    plain = conf.base_type == "MT5" or conf.quantised or contents.flag("model_conf/no_scale_embedding")
    return 1.0 if plain else 1.0 / sqrt(hidden)


def _experts(
    sizes: _Sizes, contents: FileContents, problems: list[str]
) -> tuple[Experts | None, Experts | None, tuple[tuple[int, int], ...]]:
    """Return the experts of encoder and decoder, and, for hard gates, the expert of each language."""
    if sizes.base != "Moe":
        return None, None, ()
    kind = contents.whole("model_conf/gate_type")
    if kind not in (0, 1):
        problems.append(f"gate_type is {kind}, expected 0 (soft) or 1 (hard)")
    gate = Gate.HARD if kind == 1 else Gate.SOFT
    found = []
    for name, layers in (("encoder", sizes.encoder_layers), ("decoder", sizes.decoder_layers)):
        found.append(_experts_of(name, layers, gate, contents, problems))
    languages = contents.list("lang2gate/langs")
    gates = contents.list("lang2gate/gates")
    if gate is Gate.SOFT:
        return found[0], found[1], ()
    count = min((each.count for each in found if each is not None), default=0)
    if len(languages) != len(gates) or not languages or not all(0 <= each < count for each in gates):
        problems.append(
            f"lang2gate has languages {list(languages)} and gates {list(gates)}: expected one gate from 0 to "
            f"{count - 1} per language, as gate_type is 1"
        )
    return found[0], found[1], tuple(zip(languages, gates, strict=False))


def _experts_of(name: str, layers: int, gate: Gate, contents: FileContents, problems: list[str]) -> Experts | None:
    listed = contents.list(f"model_conf/moe_list_{name}")
    if not listed:
        return None
    count, top = (contents.whole(f"model_conf/{key}_{name}") for key in ("expert_num", "moe_topk"))
    if not all(0 <= each < layers for each in listed):
        problems.append(f"moe_list_{name} is {list(listed)}, but the {name} has layers 0 to {layers - 1}")
    if count < 1:
        problems.append(f"expert_num_{name} is {count}, expected a positive number")
        return None
    if gate is Gate.HARD:
        top = 1
    elif not 1 <= top <= min(2, count):
        problems.append(f"moe_topk_{name} is {top} of {count} experts, expected 1 or 2")
        top = 1
    return Experts(count, top, gate, tuple(sorted(set(listed))))
