"""How the fields of OpenAI's bodies become decoding settings of a model (`runtime/completion_order.py`).

Pure. A body without `temperature` and `top_p` is decoded as the checkpoint's generation_config.json says, which is
greedy search unless it says otherwise; OpenAI's default, a temperature of 1, is not a good one for small models.
Source of limits: OpenAI's API reference, "Create completion" and "Create chat completion".
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import msgspec
import orjson

from slipway.errors import shown
from slipway.rest.openai.errors import ApiError
from slipway.rest.openai.structured import StructureFields
from slipway.runtime.grammars.source import GrammarSource
from slipway.runtime.token_lists import MOST_BIASES, token_ids

_MOST_CHOICES: Final = 128
_MOST_STOPS: Final = 4
_LONGEST_STOP: Final = 1024  # characters
_SAMPLING: Final = ("temperature", "top_p", "top_k", "min_p", "typical_p")  # one of them: tokens are sampled
# Fields that the order has under the same names, if they ask for anything.
_PASSED_ON: Final = ("ignore_eos", "stop_token_ids", "include_stop_str_in_output", "allowed_token_ids")
_MOST_TOKENS: Final = (1 << 31) - 1
_TOP_K: Final = "runtime_top_k"  # names of the checkpoint's own settings in the model's config
_TOP_P: Final = "runtime_top_p"


class StreamOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`stream_options`; obfuscation hides lengths from who listens to an encrypted stream, and is not done."""

    include_usage: bool = False
    include_obfuscation: bool = False


class GenerationFields(StructureFields, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """What the bodies of both routes have in common.

    Accepted without effect, because they concern OpenAI's own accounts and machines: `user`, `metadata`, `store`,
    `service_tier`, `safety_identifier`, `prompt_cache_key`, `prompt_cache_retention`. The fields from `top_k` to
    `allowed_token_ids` are not OpenAI's, but have the names that vLLM and other servers use; so have those from
    `use_beam_search` on, which are refused (`refused_fields.py`).
    """

    model: str
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    logit_bias: dict[str, float] | None = None
    top_k: int | None = None
    min_p: float | None = None
    min_tokens: int | None = None
    repetition_penalty: float | None = None
    typical_p: float | None = None
    ignore_eos: bool | None = None
    stop_token_ids: list[int] | None = None
    include_stop_str_in_output: bool | None = None
    allowed_token_ids: list[int] | None = None
    user: str | None = None
    metadata: Any = None
    store: bool | None = None
    service_tier: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    prompt_cache_retention: str | None = None
    use_beam_search: Any = None
    length_penalty: Any = None
    early_stopping: Any = None
    bad_words: Any = None
    logits_processors: Any = None
    prompt_logprobs: Any = None
    skip_special_tokens: Any = None
    spaces_between_special_tokens: Any = None
    truncate_prompt_tokens: Any = None
    return_token_ids: Any = None
    return_tokens_as_token_ids: Any = None
    guided_decoding_backend: Any = None
    guided_whitespace_pattern: Any = None


# Limits of numbers; both are included.
LIMITS: Final[Mapping[str, tuple[float, float]]] = {
    "max_tokens": (1, _MOST_TOKENS),
    "max_completion_tokens": (1, _MOST_TOKENS),
    "temperature": (0, 2),
    "top_p": (0, 1),
    "n": (1, _MOST_CHOICES),
    "best_of": (1, _MOST_CHOICES),
    "seed": (-(1 << 63), (1 << 63) - 1),
    "presence_penalty": (-2, 2),
    "frequency_penalty": (-2, 2),
    "top_k": (-1, _MOST_TOKENS),
    "min_p": (0, 1),
    "min_tokens": (0, _MOST_TOKENS),
    "repetition_penalty": (0.01, 100),
    "typical_p": (0.01, 1),
    "logprobs": (0, 20),
    "top_logprobs": (0, 20),
}


@dataclass(frozen=True, slots=True)
class CompletionPlan:
    """`order` is what all sequences have in common; each prompt gets `count` of them, of which the best `choices` are
    returned. `seed` is the first sequence's; those of the others follow."""

    order: Mapping[str, Any]
    choices: int
    count: int
    seed: int
    stream: bool
    include_usage: bool
    most_tokens: int | None  # to generate, if the request limits them

    def held_to(self, grammar: GrammarSource | None) -> CompletionPlan:
        """Return the plan with what the text must be, if that is not open."""
        return self if grammar is None else replace(self, order={**self.order, **dict([grammar.member])})

    def orders(self, prompts: Sequence[Sequence[int]]) -> list[bytes]:
        """Return the JSON order of each sequence, those of one prompt one after the other."""
        place = 0
        orders = []
        for prompt in prompts:
            for _ in range(self.count):
                seed = (self.seed + place) % (1 << 63)
                orders.append(orjson.dumps({"prompt": prompt, **self.order, "seed": seed}))
                place += 1
        return orders


def plan_sequences(
    request: GenerationFields,
    own: Mapping[str, str],
    *,
    limit: int | None,
    usual_limit: int | None,
    logprobs: int | None,
    best_of: int | None = None,
) -> CompletionPlan:
    """Return the plan for a body. `own` are the checkpoint's settings; `limit` is the field that limits the length,
    `usual_limit` what holds without it (None: the checkpoint's own limit, or what the model can do).

    Raise `ApiError` naming the first field that is out of range or contradicts another.
    """
    check_ranges(request)
    choices = request.n or 1
    count = best_of or choices
    stream = bool(request.stream)
    if count < choices:
        raise ApiError(f"'best_of' is {count}, but 'n' is {choices}: it must not be smaller.", "best_of")
    if stream and count > choices:
        raise ApiError("'best_of' above 'n' cannot be streamed: the best is known at the end.", "best_of")
    if request.stream_options is not None and not stream:
        raise ApiError("'stream_options' is only allowed when 'stream' is true.", "stream_options")
    # Many log-probabilities in one event would keep the event loop for as long as it takes to read them.
    order: dict[str, Any] = {**_settings(request, own), "pieces": stream or logprobs is not None}
    if limit is not None:
        order["max_tokens"] = limit
    elif usual_limit is not None:
        order["most_tokens"] = usual_limit
    if stops := _stops(request.stop):
        order["stop"] = stops
    if request.logit_bias:
        order["logit_bias"] = _biases(request.logit_bias)
    _check_ids(request)
    order |= {name: value for name in _PASSED_ON if (value := getattr(request, name))}
    if logprobs is not None:
        order["logprobs"] = logprobs
    return CompletionPlan(
        order,
        choices,
        count,
        seed=secrets.randbits(62) if request.seed is None else request.seed % (1 << 63),
        stream=stream,
        include_usage=request.stream_options is not None and request.stream_options.include_usage,
        most_tokens=limit,
    )


def check_ranges(request: msgspec.Struct) -> None:
    """Raise `ApiError` naming the first number of a body that is out of range."""
    for name, (least, most) in LIMITS.items():
        value = getattr(request, name, None)
        if value is not None and not isinstance(value, bool) and not least <= value <= most:
            given = f"{value:g}" if isinstance(value, float) else shown(value)  # a whole number may be beyond any float
            raise ApiError(f"'{name}' is {given}, expected {least} to {most}.", name, kind="invalid_value")


def _settings(request: GenerationFields, own: Mapping[str, str]) -> dict[str, float]:
    settings: dict[str, float | None] = {
        "min_tokens": request.min_tokens,
        "repetition_penalty": request.repetition_penalty,
        "frequency_penalty": request.frequency_penalty,
        "output_presence_penalty": request.presence_penalty,
    }
    if request.temperature == 0 or request.top_p == 0:  # the nucleus of no mass is the best token
        settings["temperature"] = 0.0
    elif any(getattr(request, name) is not None for name in _SAMPLING):
        top_k = int(own.get(_TOP_K, 0)) if request.top_k is None else max(0, request.top_k)
        top_p = float(own.get(_TOP_P, 0.0)) or 1.0 if request.top_p is None else request.top_p
        settings |= {"do_sample": True, "temperature": request.temperature, "top_k": top_k, "top_p": top_p}
        settings |= {"min_p": request.min_p, "typical_p": request.typical_p}
    return {name: value for name, value in settings.items() if value is not None}


def _stops(value: str | list[str] | None) -> list[str]:
    stops = [value] if isinstance(value, str) else value or []
    if len(stops) > _MOST_STOPS:
        raise ApiError(f"'stop' has {len(stops)} texts, but at most {_MOST_STOPS} are allowed.", "stop")
    if any(len(stop) > _LONGEST_STOP for stop in stops):
        raise ApiError(f"A text of 'stop' has more than {_LONGEST_STOP} characters.", "stop")
    return [stop for stop in stops if stop]


def _check_ids(request: GenerationFields) -> None:
    for name in ("stop_token_ids", "allowed_token_ids"):
        try:
            token_ids(getattr(request, name) or [])
        except ValueError as error:
            raise ApiError(f"'{name}' is not valid: {error}.", name) from None


def _biases(biases: Mapping[str, float]) -> Mapping[str, float]:
    if len(biases) > MOST_BIASES:
        raise ApiError(f"'logit_bias' has more than {MOST_BIASES} tokens.", "logit_bias")
    for token, bias in biases.items():
        if not (token.isascii() and token.isdigit() and len(token) < 11):
            raise ApiError("The names in 'logit_bias' must be token ids.", "logit_bias")
        if not -100 <= bias <= 100:
            raise ApiError(f"The bias of token {token} is {bias:g}, expected -100 to 100.", "logit_bias")
    return biases
