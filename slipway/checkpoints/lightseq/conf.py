"""The decoding settings of a LightSeq file: `model_conf` with its defaults, and the values that the engine accepts.

Knows no array. Limits and defaults are those of LightSeq's `lightseq/inference/proto/*_weight.cc` and `model/`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from slipway.checkpoints.lightseq.contents import FileContents

WIDTHS: Final = (1, 2, 4, 8, 16, 32)  # beam sizes, and k of top-k, that the kernels were compiled for
MAX_STEP: Final = 1024
GPT_METHODS: Final = ("topk", "topp", "ppl")
SEARCH_METHODS: Final = ("beam_search", "topk", "topp", "topk_greedy")
_GPT_TOPK: Final = 4
_GPT_TOPP: Final = 0.75


@dataclass(frozen=True, slots=True)
class LightSeqConf:
    """The decoding settings of a model. `max_step` is the maximum sequence length, in tokens; Bert and Vit have only
    that, `padding_id` and `multilg_type`."""

    model_type: str
    max_step: int
    beam_size: int = 1
    sampling_method: str = ""  # "" if the model does not generate
    topk: int = 1
    topp: float = 0.75
    length_penalty: float = 0.0
    diverse_lambda: float = 0.0
    extra_decode_length: int = 0
    padding_id: int = 0
    start_id: int = 0
    end_id: int = 0
    multilg_type: int = 0

    @property
    def quantised(self) -> bool:
        """Whether the weights are 8-bit."""
        return self.model_type.startswith("Quant")

    @property
    def base_type(self) -> str:
        """The model type without `Quant`."""
        return self.model_type.removeprefix("Quant")


def read_conf(model_type: str, contents: FileContents, *, max_step: int, vocabulary: int) -> LightSeqConf:
    """Return the settings of a file, with the engine's defaults for those that are not set."""
    base = model_type.removeprefix("Quant")
    padding = contents.whole("model_conf/src_padding_id")
    languages = contents.whole("model_conf/multilg_type")
    if base in ("Bert", "Vit"):
        return LightSeqConf(model_type, max_step, padding_id=padding, multilg_type=languages)
    method = contents.text("model_conf/sampling_method")
    if base == "Gpt":
        extra = contents.whole("model_conf/extra_decode_length")
        return LightSeqConf(
            model_type,
            max_step,
            sampling_method=method or "topk",
            topk=contents.whole("model_conf/topk") or _GPT_TOPK,
            topp=contents.number("model_conf/topp") or _GPT_TOPP,
            extra_decode_length=extra if extra > 0 else max_step,
            padding_id=padding,
            end_id=contents.whole("model_conf/eos_id") or vocabulary - 1,  # GPT-2's is its last token
        )
    method = method or "beam_search"
    return LightSeqConf(
        model_type,
        max_step,
        beam_size=contents.whole("model_conf/beam_size") if method in ("beam_search", "topk_greedy") else 1,
        sampling_method=method,
        topk=contents.whole("model_conf/topk"),
        topp=contents.number("model_conf/topp"),
        length_penalty=contents.number("model_conf/length_penalty"),
        diverse_lambda=contents.number("model_conf/diverse_lambda"),
        extra_decode_length=contents.whole("model_conf/extra_decode_length"),
        padding_id=padding,
        start_id=contents.whole("model_conf/trg_start_id"),
        end_id=contents.whole("model_conf/trg_end_id") or vocabulary - 1,
        multilg_type=languages,
    )


def conf_problems(conf: LightSeqConf) -> list[str]:
    """Return every setting that the engine would not accept, with the allowed values."""
    problems = []
    allowed = ", ".join(map(str, WIDTHS))
    if not 1 <= conf.max_step <= MAX_STEP:
        problems.append(f"max_step is {conf.max_step}, expected 1 to {MAX_STEP}")
    if conf.multilg_type not in range(4):
        problems.append(f"multilg_type is {conf.multilg_type}, expected 0, 1, 2 or 3")
    if not conf.sampling_method:
        return problems
    methods = GPT_METHODS if conf.base_type == "Gpt" else SEARCH_METHODS
    if conf.sampling_method not in methods:
        problems.append(f"Unsupported sampling_method '{conf.sampling_method}', expected {', '.join(methods)}")
    if conf.beam_size not in WIDTHS:
        problems.append(f"Unsupported beam_size {conf.beam_size}, expected one of {allowed}")
    if conf.sampling_method == "topk" and conf.topk not in WIDTHS:
        problems.append(f"Unsupported topk {conf.topk}, expected one of {allowed}")
    if conf.sampling_method == "topp" and not 0 < conf.topp <= 1:
        problems.append(f"topp is {conf.topp:g}, expected more than 0 and at most 1")
    for name in ("length_penalty", "diverse_lambda"):
        value = getattr(conf, name)
        if not abs(value) < float("inf"):
            problems.append(f"{name} is {value}, expected a finite number")
    if conf.extra_decode_length < 0:
        problems.append(f"extra_decode_length is {conf.extra_decode_length}, expected 0 or more")
    return problems
