"""Write the models of a text generator: tokenizer, engine, detokenizer, the ensemble of these, and a stream.

NAME-tokenizer    text -> input_ids, attention_mask
NAME-model        ids -> ids: the engine, with the checkpoint
NAME-detokenizer  ids -> text
NAME              text -> text: the ensemble of these; the optional inputs go to NAME-model
NAME-stream       text -> text in pieces (decoupled); uses the checkpoint of NAME-model
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.convert.arrays import MAX_BATCH_SIZE
from slipway.convert.configs import (
    VERSION,
    ensemble_step,
    model_input,
    model_name,
    model_output,
    python_config,
    write_config,
    write_ensemble,
)
from slipway.convert.generation.source import GenerationSource
from slipway.convert.generation.variants import COMPUTE_TYPES, SERVED_BY
from slipway.convert.models import model_source
from slipway.convert.variants import Variant
from slipway.core.signature import TensorSpec
from slipway.runtime.arguments import ARGUMENTS
from slipway.runtime.generation_model import IDS, MASK

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_TEXT: Final = (TensorSpec("text", "BYTES", (1,)),)
_TOKENS: Final = tuple(TensorSpec(name, "INT64", (-1,)) for name in (IDS, MASK))
_LENGTHS: Final = TensorSpec("sequence_length", "INT64", (-1,))
_SCORES: Final = TensorSpec("cum_log_probs", "FP32", (-1,))
_GENERATED: Final = (TensorSpec("output_ids", "INT64", (-1, -1)), _LENGTHS, _SCORES)
_WORDS: Final = TensorSpec("generated_text", "BYTES", (-1,))
_ARGUMENTS: Final = tuple(TensorSpec(each.name, each.datatype, (1,)) for each in ARGUMENTS)
_CHECKPOINT: Final = ("config.json", "generation_config.json", "*.safetensors", "*.safetensors.index.json")
_TORCH_CHECKPOINT: Final = ("pytorch_model*.bin", "pytorch_model.bin.index.json")


def generation_names(name: str) -> tuple[str, ...]:
    """Return the names of all models, in the order in which they must be moved into the repository."""
    return f"{name}-tokenizer", model_name(name), f"{name}-detokenizer", name, f"{name}-stream"


def write_engine_model(directory: Path, name: str, source: GenerationSource, variant: Variant) -> None:
    """Write NAME-model into `directory`, which must not exist: the checkpoint's files, its config and model.py."""
    config = python_config(model_name(name), _TOKENS, _GENERATED, MAX_BATCH_SIZE, _parameters(source, variant))
    _add_arguments(config)
    _batch(config)
    _write_model(directory, config, "generate")
    copy_checkpoint(source.directory, directory / VERSION)


def write_generation_models(
    directory: Path, name: str, source: GenerationSource, variant: Variant, tokenizer: Tokenizer
) -> None:
    """Write every model except the engine into `directory`."""
    words, ids = (_WORDS,), tuple(spec for spec in _GENERATED if spec is not _SCORES)
    tokenizing = python_config(f"{name}-tokenizer", _TEXT, _TOKENS, MAX_BATCH_SIZE, {})
    wording = python_config(f"{name}-detokenizer", ids, words, MAX_BATCH_SIZE, {})
    streaming = python_config(f"{name}-stream", _TEXT, words, MAX_BATCH_SIZE, _stream_parameters(name, source, variant))
    streaming.model_transaction_policy.decoupled = True
    _add_arguments(streaming)
    _batch(streaming)
    models = (
        (tokenizing, "tokenizer"),
        (wording, "detokenizer"),
        (streaming, "stream"),
    )
    for config, template in models:
        _write_model(directory / config.name, config, template)
        tokenizer.save(str(directory / config.name / VERSION / "tokenizer.json"))
    write_ensemble(directory / name, _ensemble(name))


def copy_checkpoint(source: Path, target: Path) -> None:
    """Copy the files that the reader needs; PyTorch weights only if there are no safetensors."""
    weights = _CHECKPOINT if any(source.glob("*.safetensors")) else (*_CHECKPOINT, *_TORCH_CHECKPOINT)
    for pattern in weights:
        for file in sorted(source.glob(pattern)):
            shutil.copyfile(file, target / file.name)


def _write_model(directory: Path, config: pb.ModelConfig, template: str) -> None:
    version = directory / VERSION
    version.mkdir(parents=True)
    write_config(directory, config)
    (version / "model.py").write_text(model_source(template), encoding="utf-8")


def _parameters(source: GenerationSource, variant: Variant) -> dict[str, str]:
    return {"ENGINE": SERVED_BY[variant.engine], "COMPUTE_TYPE": COMPUTE_TYPES[variant.precision], **source.defaults}


def _stream_parameters(name: str, source: GenerationSource, variant: Variant) -> dict[str, str]:
    defaults = {key: value for key, value in source.defaults.items() if key != "beam_width"}  # beams cannot stream
    return {
        "CHECKPOINT": f"../{model_name(name)}/{VERSION}",
        "ENGINE": SERVED_BY[variant.engine],
        "COMPUTE_TYPE": COMPUTE_TYPES[variant.precision],
        **defaults,
    }


def _add_arguments(config: pb.ModelConfig) -> None:
    for spec in _ARGUMENTS:
        config.input.append(model_input(spec))
        config.input[-1].optional = True


def _batch(config: pb.ModelConfig) -> None:
    """Let requests with different lengths and arguments share one execution."""
    config.dynamic_batching.SetInParent()
    for each in config.input:
        each.allow_ragged_batch = True


def _ensemble(name: str) -> pb.ModelConfig:
    arguments = [spec.name for spec in _ARGUMENTS]
    ids = [spec.name for spec in _TOKENS]
    generated = [spec.name for spec in _GENERATED]
    config = pb.ModelConfig(
        name=name,
        platform="ensemble",
        max_batch_size=MAX_BATCH_SIZE,
        input=[model_input(spec) for spec in _TEXT],
        output=[model_output(spec) for spec in (_WORDS, _LENGTHS, _SCORES)],
        ensemble_scheduling=pb.ModelEnsembling(
            step=[
                ensemble_step(f"{name}-tokenizer", ["text"], ids),
                ensemble_step(model_name(name), [*ids, *arguments], generated),
                ensemble_step(f"{name}-detokenizer", ["output_ids", "sequence_length"], [_WORDS.name]),
            ]
        ),
    )
    _add_arguments(config)
    return config
