"""Write the models of a text generator: tokenizer, engine, detokenizer, the ensemble of these, and a stream.

NAME-tokenizer    text -> input_ids, attention_mask
NAME-model        ids -> ids: the engine, with the checkpoint
NAME-detokenizer  ids -> text
NAME              text -> text: the ensemble of these; the optional inputs go to NAME-model
NAME-stream       text -> text in pieces (decoupled); uses the checkpoint of NAME-model
NAME-completions  ids -> events with text (decoupled), for OpenAI's API; uses the checkpoint of NAME-model
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.chat.templates import FILE, FOR_TOOLS, ChatTemplates, write_templates
from slipway.chat.tool_formats import recognise_tool_format
from slipway.config.purpose import Purpose
from slipway.convert.arrays import MAX_BATCH_SIZE
from slipway.convert.configs import (
    VERSION,
    ensemble_step,
    model_input,
    model_name,
    model_output,
    python_config,
    write_ensemble,
    write_python_model,
)
from slipway.convert.generation.languages import SourceLanguages
from slipway.convert.generation.source import GenerationSource
from slipway.convert.token_variants import COMPUTE_TYPES, SERVED_BY
from slipway.convert.variants import Variant
from slipway.core.bytes_codec import encode_bytes
from slipway.core.signature import TensorSpec
from slipway.runtime.arguments import ARGUMENTS, NUM_RETURN, STOP
from slipway.runtime.checkpoint_model import TOKENIZER
from slipway.runtime.completion_model import COMPLETION, EVENT
from slipway.runtime.generation_model import IDS, MASK
from slipway.runtime.source_language import LANGUAGE

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXT: Final = (TensorSpec("text", "BYTES", (1,)),)
_TOKENS: Final = tuple(TensorSpec(name, "INT64", (-1,)) for name in (IDS, MASK))
_LENGTHS: Final = TensorSpec("sequence_length", "INT64", (-1,))
_SCORES: Final = TensorSpec("cum_log_probs", "FP32", (-1,))
GENERATED: Final = (TensorSpec("output_ids", "INT64", (-1, -1)), _LENGTHS, _SCORES)
WORDS: Final = TensorSpec("generated_text", "BYTES", (-1,))
ARGUMENT_INPUTS: Final = (
    *(TensorSpec(each.name, each.datatype, (1,)) for each in ARGUMENTS),
    TensorSpec(STOP, "BYTES", (-1,)),
)
_LANGUAGE: Final = TensorSpec(LANGUAGE, "BYTES", (1,))
CLEAN_UP: Final = {"CLEAN_UP": "1"}
_SETTINGS: Final = ("config.json", "generation_config.json")
_AT_ONCE: Final = 2  # instances that complete: a short request need not wait until a long one has ended
_CHECKPOINT: Final = (*_SETTINGS, "*.safetensors", "*.safetensors.index.json")
_TORCH_CHECKPOINT: Final = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def generation_names(name: str) -> tuple[str, ...]:
    """Return the names of all models, in the order in which they must be moved into the repository."""
    return f"{name}-tokenizer", model_name(name), f"{name}-detokenizer", name, f"{name}-stream", f"{name}-completions"


@dataclass(frozen=True, slots=True)
class TextSide:
    """How the models around the engine process text; `cleaned` says that spaces before punctuation are removed."""

    tokenizer: Tokenizer
    languages: SourceLanguages
    cleaned: bool
    chat: ChatTemplates | None = None


def write_engine_model(directory: Path, name: str, source: GenerationSource, variant: Variant, text: TextSide) -> None:
    """Write NAME-model into `directory`, which must not exist: the checkpoint's files, the tokenizer (for stop texts),
    its config and model.py."""
    parameters = engine_parameters(source, variant) | text.languages.parameters
    config = python_config(model_name(name), _TOKENS, GENERATED, MAX_BATCH_SIZE, parameters)
    add_optional(config, ARGUMENT_INPUTS)
    share_executions(config)
    write_python_model(directory, config, "generate")
    copy_checkpoint(source.directory, directory / VERSION)
    text.tokenizer.save(str(directory / VERSION / TOKENIZER))


def write_generation_models(
    directory: Path, name: str, source: GenerationSource, variant: Variant, text: TextSide
) -> None:
    """Write every model except the engine into `directory`."""
    words, ids = (WORDS,), tuple(spec for spec in GENERATED if spec is not _SCORES)
    languages, cleaned = text.languages.parameters, CLEAN_UP if text.cleaned else {}
    tokenizing = python_config(f"{name}-tokenizer", _TEXT, _TOKENS, MAX_BATCH_SIZE, languages)
    wording = python_config(f"{name}-detokenizer", ids, words, MAX_BATCH_SIZE, cleaned)
    parameters = _stream_parameters(name, source, variant) | languages | cleaned
    streaming = python_config(f"{name}-stream", _TEXT, words, MAX_BATCH_SIZE, parameters)
    streaming.model_transaction_policy.decoupled = True
    spoken = (_LANGUAGE,) if text.languages.names else ()
    add_optional(tokenizing, spoken)
    add_optional(streaming, (*spoken, *ARGUMENT_INPUTS))
    share_executions(streaming)
    models = (
        (tokenizing, "tokenizer"),
        (wording, "detokenizer"),
        (streaming, "stream"),
    )
    for config, template in models:
        write_python_model(directory / config.name, config, template)
        text.tokenizer.save(str(directory / config.name / VERSION / TOKENIZER))
    if text.chat is not None:
        write_templates(directory / tokenizing.name / VERSION, text.chat)
    parameters = _stream_parameters(name, source, variant) | cleaned
    if not source.limited:
        parameters.pop("max_output_len", None)  # a chat ends by itself, or when the context is full
    completing = _completions(name, parameters)
    write_python_model(directory / completing.name, completing, "completions")
    _write_warmup(directory / completing.name, source)
    ensemble = _ensemble(name, spoken)
    for key, value in _purpose(name, source, text).parameters().items():
        ensemble.parameters[key].string_value = value
    write_ensemble(directory / name, ensemble)


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the files that the reader needs; PyTorch weights only if there are no safetensors."""
    weights = _CHECKPOINT if any(source.glob("*.safetensors")) else (*_CHECKPOINT, *_TORCH_CHECKPOINT)
    _copy(weights, source, target)


def copy_settings(source: Path, target: Path) -> None:
    """Copy the checkpoint's settings without its weights."""
    _copy(_SETTINGS, source, target)


def _copy(patterns: Sequence[str], source: Path, target: Path) -> None:
    for pattern in patterns:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, target / file.name)


def engine_parameters(source: GenerationSource, variant: Variant) -> dict[str, str]:
    """Return the parameters that select the engine, with the checkpoint's own defaults."""
    return {"ENGINE": SERVED_BY[variant.engine], "COMPUTE_TYPE": COMPUTE_TYPES[variant.precision], **source.defaults}


def _stream_parameters(name: str, source: GenerationSource, variant: Variant) -> dict[str, str]:
    single = ("beam_width", NUM_RETURN)  # only one sequence can stream, found without beams
    defaults = {key: value for key, value in source.defaults.items() if key not in single}
    return {
        "CHECKPOINT": f"../{model_name(name)}/{VERSION}",
        "ENGINE": SERVED_BY[variant.engine],
        "COMPUTE_TYPE": COMPUTE_TYPES[variant.precision],
        **defaults,
    }


def add_optional(config: pb.ModelConfig, specs: Sequence[TensorSpec]) -> None:
    """Add optional inputs to a config."""
    for spec in specs:
        config.input.append(model_input(spec))
        config.input[-1].optional = True


def share_executions(config: pb.ModelConfig) -> None:
    """Let requests with different lengths and arguments share one execution."""
    config.dynamic_batching.SetInParent()
    for each in config.input:
        each.allow_ragged_batch = True


def _completions(name: str, parameters: dict[str, str]) -> pb.ModelConfig:
    orders, events = TensorSpec(COMPLETION, "BYTES", (1,)), TensorSpec(EVENT, "BYTES", (1,))
    config = python_config(f"{name}-completions", (orders,), (events,), MAX_BATCH_SIZE, parameters)
    config.model_transaction_policy.decoupled = True
    config.instance_group[0].count = _AT_ONCE
    sample = config.model_warmup.add(name=COMPLETION, batch_size=1)  # an order, which `slipway verify` sends too
    tensor = pb.ModelWarmup.Input(data_type=pb.TYPE_STRING, dims=[1], input_data_file=COMPLETION)
    sample.inputs[COMPLETION].CopyFrom(tensor)
    share_executions(config)
    return config


def _write_warmup(directory: Path, source: GenerationSource) -> None:
    order = json.dumps({"prompt": [source.spec.end_id], "max_tokens": 1})  # an id that is not padding
    (directory / "warmup").mkdir()
    (directory / "warmup" / COMPLETION).write_bytes(encode_bytes([order]))


def _purpose(name: str, source: GenerationSource, text: TextSide) -> Purpose:
    return Purpose(
        source.task.value,
        tokenizer=f"{name}-tokenizer",
        max_tokens=source.context,
        chat_template="" if text.chat is None else FILE,
        stream=f"{name}-stream",
        completions=f"{name}-completions",
        tool_calls="" if text.chat is None else recognise_tool_format(text.chat.templates, FOR_TOOLS),
    )


def _ensemble(name: str, spoken: Sequence[TensorSpec]) -> pb.ModelConfig:
    arguments = [spec.name for spec in ARGUMENT_INPUTS]
    ids = [spec.name for spec in _TOKENS]
    generated = [spec.name for spec in GENERATED]
    config = pb.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=MAX_BATCH_SIZE,
        input=[model_input(spec) for spec in _TEXT],
        output=[model_output(spec) for spec in (WORDS, _LENGTHS, _SCORES)],
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                ensemble_step(f"{name}-tokenizer", ["text", *(each.name for each in spoken)], ids),
                ensemble_step(model_name(name), [*ids, *arguments], generated),
                ensemble_step(f"{name}-detokenizer", ["output_ids", "sequence_length"], [WORDS.name]),
            ]
        ),
    )
    add_optional(config, (*spoken, *ARGUMENT_INPUTS))
    return config
