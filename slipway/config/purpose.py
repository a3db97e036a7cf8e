"""What a model is for: the task that its texts go through, and what a front must know to count and prepare them.

`slipway convert` writes it into the parameters of the ensemble (Triton ignores them); a model without them is
recognised by the names of its tensors. Pure: looks at one config, opens no file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Final

from tritonclient.grpc import model_config_pb2

from slipway.chat.tool_formats import NONE, TOOL_FORMATS
from slipway.errors import shown
from slipway.nearest import nearest_or_all
from slipway.problems import Named, Problem, Rule

TASK: Final = "SLIPWAY_TASK"  # of `slipway convert --task`
TOKENIZER: Final = "SLIPWAY_TOKENIZER"  # the model whose version directory contains tokenizer.json
PROMPTS: Final = "SLIPWAY_PROMPTS"  # a JSON object: texts that a client may have put before its own, by name
MAX_TOKENS: Final = "SLIPWAY_MAX_TOKENS"  # of a text, special tokens included
CHAT_TEMPLATE: Final = "SLIPWAY_CHAT_TEMPLATE"  # a file beside tokenizer.json
STREAM: Final = "SLIPWAY_STREAM"  # the model that gives the same texts in pieces
COMPLETIONS: Final = "SLIPWAY_COMPLETIONS"  # the model that completes token ids as OpenAI's API does
TOOL_CALLS: Final = "SLIPWAY_TOOL_CALLS"  # the form in which the model writes calls of tools, or none
KEYS: Final = (TASK, TOKENIZER, PROMPTS, MAX_TOKENS, CHAT_TEMPLATE, STREAM, COMPLETIONS, TOOL_CALLS)
_PREFIX: Final = "SLIPWAY_"
_STREAM_SUFFIX: Final = "-stream"  # of the models that conversions name
_LONGEST: Final = 1 << 30


class Use(Enum):
    """The kind of request that a model answers."""

    EMBED = "embed"
    CLASSIFY = "classify"
    CHOOSE = "choose"  # among labels that come with the request
    RERANK = "rerank"
    GENERATE = "generate"


TASKS: Final[Mapping[str, Use]] = {
    "embedding": Use.EMBED,
    "text-classification": Use.CLASSIFY,
    "zero-shot": Use.CHOOSE,
    "reranking": Use.RERANK,
    "text-generation": Use.GENERATE,
    "text2text-generation": Use.GENERATE,
    "translation": Use.GENERATE,
    "summarization": Use.GENERATE,
}
# Models without parameters: their required inputs, outputs that they have among others, and the task.
_SIGNATURES: Final = (
    (frozenset({"text"}), frozenset({"embedding"}), "embedding"),
    (frozenset({"text"}), frozenset({"label", "scores"}), "text-classification"),
    (frozenset({"text", "labels"}), frozenset({"label", "scores"}), "zero-shot"),
    (frozenset({"query", "text"}), frozenset({"score"}), "reranking"),
    (frozenset({"text"}), frozenset({"generated_text"}), "text-generation"),
)


@dataclass(frozen=True, slots=True)
class Purpose:
    """What a model is for. `tokenizer` is the model whose version directory contains tokenizer.json, `encoder` the one
    that takes the token ids, `stream` the one that gives the same texts in pieces, `completions` the one that completes
    ids as OpenAI's API does; "" if there is none. `prompt` is put
    before every text by the tokenizer itself, `prompts` are those that a client may choose. `max_tokens` is the longest
    text, special tokens included; 0 if unknown. `tool_calls` is the form of the model's calls of tools, "" if they are
    not recognised."""

    task: str
    tokenizer: str = ""
    prompts: Mapping[str, str] = field(default_factory=dict)
    max_tokens: int = 0
    chat_template: str = ""
    stream: str = ""
    encoder: str = ""
    completions: str = ""
    tool_calls: str = ""

    @property
    def use(self) -> Use:
        """The kind of request that the model answers."""
        return TASKS[self.task]

    def parameters(self) -> dict[str, str]:
        """Return the parameters of a config that say so; those that say nothing are left out."""
        prompts = json.dumps(dict(self.prompts), ensure_ascii=False) if self.prompts else ""
        length = str(self.max_tokens) if self.max_tokens else ""
        models = (self.stream, self.completions)
        values = (self.task, self.tokenizer, prompts, length, self.chat_template, *models, self.tool_calls)
        return {key: value for key, value in zip(KEYS, values, strict=True) if value}


def purpose_of(config: model_config_pb2.ModelConfig) -> Purpose | None:
    """Return what a model with a valid config is for; None if that is not known."""
    given = {key: config.parameters[key].string_value for key in KEYS if key in config.parameters}
    task = given.get(TASK) or _recognised(config)
    if not task or (config.model_transaction_policy.decoupled and TASKS[task] is not Use.GENERATE):
        return None
    steps = _Steps(config)
    return Purpose(
        task,
        tokenizer=given.get(TOKENIZER) or steps.taking_text() or config.name,
        prompts=json.loads(given.get(PROMPTS) or "{}"),
        max_tokens=int(given.get(MAX_TOKENS) or 0),
        chat_template=given.get(CHAT_TEMPLATE, ""),
        stream=given.get(STREAM) or _stream(config, task),
        encoder=steps.taking_ids(),
        completions=given.get(COMPLETIONS, ""),
        tool_calls=given.get(TOOL_CALLS, ""),
    )


def _recognised(config: model_config_pb2.ModelConfig) -> str:
    required = frozenset(each.name for each in config.input if not each.optional)
    offered = frozenset(each.name for each in config.output)
    decoupled = config.model_transaction_policy.decoupled
    if decoupled and config.name.endswith(_STREAM_SUFFIX):  # the other form of a model that is offered already
        return ""
    if any(each.data_type != model_config_pb2.TYPE_STRING for each in config.input if each.name in required):
        return ""
    return next((task for inputs, outputs, task in _SIGNATURES if inputs == required and outputs <= offered), "")


def _stream(config: model_config_pb2.ModelConfig, task: str) -> str:
    if TASKS[task] is not Use.GENERATE:
        return ""
    name = str(config.name)
    return name if config.model_transaction_policy.decoupled else name + _STREAM_SUFFIX


class _Steps:
    """The steps of an ensemble, looked up by what they take."""

    def __init__(self, config: model_config_pb2.ModelConfig) -> None:
        self._steps = config.ensemble_scheduling.step
        self._texts = {each.name for each in config.input}

    def taking_text(self) -> str:
        """Return the model that takes a text of the request."""
        first = next((step for step in self._steps if self._texts & set(step.input_map.values())), None)
        return first.model_name if first else ""

    def taking_ids(self) -> str:
        """Return the model that takes token ids."""
        return next((step.model_name for step in self._steps if "input_ids" in step.input_map), "")


def purpose_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield what is wrong with the parameters that say what a model is for."""
    for key, parameter in config.parameters.items():
        wrong = _wrong(key, parameter.string_value) if key.startswith(_PREFIX) else ""
        if wrong:
            text = f"parameter '{shown(key)}' of model '{config.name}' {wrong}"
            path = ("parameters", Named(key, "key"), "value")
            yield Problem(Rule.PARAMETER_INVALID, text, path, "correct the parameter, or remove it")


def _wrong(key: str, value: str) -> str:
    """Return what is wrong with the value of a parameter, "" if nothing is."""
    if key not in KEYS:
        return f"is unknown{nearest_or_all(key, KEYS)}"
    if key == TASK and value not in TASKS:
        return f"has the unknown value '{shown(value)}'{nearest_or_all(value, TASKS)}"
    if key == MAX_TOKENS and not (value.isascii() and value.isdigit() and len(value) < 11 and int(value) <= _LONGEST):
        return f"must be a number of tokens, but is '{shown(value)}'"
    if key == PROMPTS and not _are_prompts(value):
        return "must be a JSON object of texts"
    if key == TOOL_CALLS and value not in (NONE, *TOOL_FORMATS):
        return f"has the unknown value '{shown(value)}'{nearest_or_all(value, (NONE, *TOOL_FORMATS))}"
    if key == CHAT_TEMPLATE and ("/" in value or value.startswith(".")):
        return f"must be the name of a file in the version directory, but is '{shown(value)}'"
    return ""


def _are_prompts(text: str) -> bool:
    try:
        value: Any = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
