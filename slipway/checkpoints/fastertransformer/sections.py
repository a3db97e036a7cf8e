"""Make the config.ini of a model: the values that readers use, and the other keys of a Hugging Face configuration.

To check that the format can represent a model, these sections are read back and compared.
"""

from __future__ import annotations

import configparser
import logging
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from slipway.checkpoints.fastertransformer import bert, gpt, t5
from slipway.checkpoints.fastertransformer.config_ini import CONFIG, Ini
from slipway.checkpoints.fastertransformer.description import Description
from slipway.errors import invalid, unsupported
from slipway.installation import install_hint
from slipway.transformer.newer_features import newer_features
from slipway.transformer.spec import Activation, Positions, Transformer

Sections = Mapping[str, Mapping[str, object]]

_LOG: Final = logging.getLogger("slipway.checkpoints")


@dataclass(frozen=True, slots=True)
class WriteOptions:
    """How a checkpoint is written: the number of ranks, the data type, the generation of the original.

    `beta` is the first layout: fp32, no [structure], no file for the head. `encoder_only` leaves T5's decoder out.
    """

    ways: int = 1
    data_type: str = "fp32"
    beta: bool = False
    encoder_only: bool = False


def written(spec: Transformer, options: WriteOptions) -> Transformer:
    """Return the part of a model that is written: without the decoder if it is unwanted, without BERT's embedding."""
    encoder = spec.encoder
    if options.encoder_only and encoder is not None:
        return Transformer(encoder=encoder, prompts=spec.prompts, prompt_start_id=spec.prompt_start_id)
    if spec.decoder is not None or encoder is None or encoder.positions is Positions.RELATIVE:
        return spec
    bare = replace(
        encoder,
        vocabulary=0,
        positions=Positions.NONE,
        position_rows=0,
        token_types=0,
        embedding_norm=False,
        padding_id=None,
        embedded_input=True,
    )
    return Transformer(encoder=bare)


def describe_sections(spec: Transformer, options: WriteOptions) -> tuple[Sections, Description]:
    """Return config.ini for a model, and its description when read back; raise UNSUPPORTED if that differs."""
    if newer := newer_features(spec):
        raise unsupported(f"FasterTransformer's format does not know {', '.join(newer)}, which this model has")
    data_type, ways = options.data_type, options.ways
    sections: Sections
    if spec.encoder is None:
        sections = gpt.sections(spec, data_type=data_type, ways=ways)
        description = gpt.describe(_ini(sections), own_head=not spec.tied_head, position_rows=0)
    elif spec.encoder.embedded_input:
        sections = bert.sections(spec, data_type=data_type, ways=ways)
        description = bert.describe(_ini(sections))
    else:
        sections = t5.sections(spec, data_type=data_type)
        sections = _beta(sections) if options.beta else sections
        own_head = not spec.tied_head and not options.beta
        description = t5.describe(_ini(sections), encoder_only=spec.decoder is None, own_head=own_head)
    _check_same(spec, description.spec, options)
    return sections, description


def write_ini(path: Path, sections: Sections, printed: Sections) -> None:
    """Write config.ini: the `printed` configuration, overridden by the values in `sections`."""
    parser = configparser.ConfigParser(interpolation=None)
    for name, figures in sections.items():
        values = {**printed.get(name, {}), **figures} if figures else {}
        hidden = next((key for key in t5.BUCKETS if key not in figures), "")  # the other name of the same value
        parser[name] = {key: str(value) for key, value in values.items() if key != hidden}
    with path.open("w", encoding="utf-8") as file:
        parser.write(file)


def t5_configuration(directory: Path) -> Sections:
    """Return every key of the encoder's and the decoder's configuration, as a loaded Hugging Face T5 has them."""
    try:
        from transformers import AutoConfig
    except ImportError as error:
        raise invalid(f"conversion needs transformers: {install_hint('convert')}") from error
    config = AutoConfig.from_pretrained(directory).to_dict()
    return {
        "encoder": config | {"is_decoder": False, "use_cache": False},
        "decoder": config | {"is_decoder": True, "num_layers": config.get("num_decoder_layers", 0)},
    }


def _ini(sections: Sections) -> Ini:
    texts = {name: {key: str(value) for key, value in values.items()} for name, values in sections.items()}
    return Ini(texts, CONFIG)


def _beta(sections: Sections) -> Sections:
    names = {t5.BUCKETS[0]: t5.BUCKETS[1]}
    return {
        name: {names.get(key, key): value for key, value in sections[name].items() if key != "weight_data_type"}
        for name in ("encoder", "decoder")
    }


def _check_same(spec: Transformer, read: Transformer, options: WriteOptions) -> None:
    """Raise UNSUPPORTED if the format cannot describe the model."""
    differences = _differences(spec, read)
    gelu = {name for name, (given, _) in differences.items() if given is Activation.GELU}
    if gelu:
        _LOG.warning("FasterTransformer's GELU is the tanh approximation, this model's is not: results differ slightly")
    problems = [
        f"{name} is {given}, the format only allows {found}"
        for name, (given, found) in differences.items()
        if name not in gelu
    ]
    if problems:
        layout = "'s first layout" if options.beta else ""
        raise unsupported(f"FasterTransformer{layout} cannot represent this model: {'; '.join(problems)}")


_APART: Final = ("encoder", "decoder", "prompt_start_id")


def _differences(spec: Transformer, read: Transformer) -> dict[str, tuple[Any, Any]]:
    pairs: dict[str, tuple[Any, Any]] = {
        field.name: (getattr(spec, field.name), getattr(read, field.name))
        for field in fields(Transformer)
        if field.name not in _APART
    }
    if spec.prompts:
        pairs["prompt_start_id"] = (spec.prompt_start_id, read.prompt_start_id)
    for name, stack, other in (("encoder", spec.encoder, read.encoder), ("decoder", spec.decoder, read.decoder)):
        if stack is not None and other is not None:
            pairs |= {
                f"{name}.{field.name}": (getattr(stack, field.name), getattr(other, field.name))
                for field in fields(type(stack))
            }
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}
