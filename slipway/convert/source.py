"""Read what a Hugging Face directory holds: architecture, task, pooling, lengths.

Only JSON is read here; weights and tokenizer are loaded by encoder.py and tokenizer.py. Whatever the directory asks for
and this package cannot reproduce exactly is refused by name.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

from slipway.errors import invalid


class Task(Enum):
    """What the converted model answers with; the value is the name of its output."""

    EMBEDDING = "embedding"  # FP32 [hidden], pooled as sentence-transformers does
    HIDDEN_STATES = "last_hidden_state"  # FP32 [tokens, hidden]
    CLASSIFICATION = "logits"  # FP32 [labels]


@dataclass(frozen=True, slots=True)
class Family:
    """What differs between the encoders of one `model_type`."""

    token_types: bool = True  # takes token_type_ids
    offset_positions: bool = False  # positions start after the padding id, as in fairseq


_FAIRSEQ: Final = Family(token_types=False, offset_positions=True)
FAMILIES: Final[dict[str, Family]] = {
    "albert": Family(),
    "bert": Family(),
    "camembert": _FAIRSEQ,
    "distilbert": Family(token_types=False),
    "electra": Family(),
    "mpnet": _FAIRSEQ,
    "roberta": _FAIRSEQ,
    "xlm-roberta": _FAIRSEQ,
}
_CLASSIFIER: Final = "ForSequenceClassification"
_ENCODER_SUFFIXES: Final = ("Model", "ForMaskedLM", "ForPreTraining")

POOLING_MODES: Final = ("cls", "mean", "max", "mean_sqrt_len_tokens")
_POOLING_KEYS: Final = {  # the boolean keys of sentence-transformers before version 5
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}


@dataclass(frozen=True, slots=True)
class Source:
    """A checkpoint that can be converted; `max_length` counts special tokens."""

    directory: Path
    family: Family
    task: Task
    max_length: int
    vocabulary_size: int
    padding_id: int
    pooling: str = ""
    normalise: bool = False
    lowercase: bool = False
    labels: tuple[str, ...] = ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The encoder's inputs, each INT64 [rows, tokens]."""
        return ("input_ids", "attention_mask", *(("token_type_ids",) if self.family.token_types else ()))


def read_source(directory: Path) -> Source:
    """Return what `directory` holds; raise `SlipwayError` naming the file and the reason when it is unusable."""
    if not directory.is_dir():
        raise invalid(f"'{directory}' is not a directory")
    config = _json_object(directory / "config.json")
    model_type = str(config.get("model_type", ""))
    architecture = str((config.get("architectures") or [""])[0])
    family = FAMILIES.get(model_type)
    if family is None:
        raise invalid(
            f"architecture '{architecture or model_type}' (model_type '{model_type}') is not supported; "
            f"supported model types: {', '.join(FAMILIES)}"
        )
    sentence = _sentence_transformers(directory)
    padding_id = int(config.get("pad_token_id") or 0)
    positions = int(config.get("max_position_embeddings", 512)) - (padding_id + 1 if family.offset_positions else 0)
    return Source(
        directory=directory,
        family=family,
        task=Task.EMBEDDING if sentence else _task(architecture, model_type),
        max_length=min(positions, *_declared_lengths(directory)),
        vocabulary_size=int(config["vocab_size"]),
        padding_id=padding_id,
        labels=_labels(config) if architecture.endswith(_CLASSIFIER) else (),
        **(sentence or {}),
    )


def _task(architecture: str, model_type: str) -> Task:
    if architecture.endswith(_CLASSIFIER):
        return Task.CLASSIFICATION
    if not architecture or architecture.endswith(_ENCODER_SUFFIXES):
        return Task.HIDDEN_STATES
    raise invalid(
        f"architecture '{architecture}' is not supported; supported for model_type '{model_type}': "
        f"the encoder (*{', *'.join(_ENCODER_SUFFIXES)}), *{_CLASSIFIER}, and sentence-transformers directories"
    )


def _sentence_transformers(directory: Path) -> dict[str, Any] | None:
    """Return pooling, normalise and lowercase of a sentence-transformers directory, or None where it is none."""
    path = directory / "modules.json"
    if not path.exists():
        return None
    pooling, normalise = "", False
    for module in _json(path):
        kind = str(module["type"]).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling_mode(directory / str(module["path"]) / "config.json")
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise invalid(f"{path}: module '{kind}' is not supported; supported: Transformer, Pooling, Normalize")
    if not pooling:
        raise invalid(f"{path}: no Pooling module, so what one embedding per text would be is not defined")
    general = directory / "config_sentence_transformers.json"
    if general.exists() and _json_object(general).get("default_prompt_name"):
        raise invalid(
            f"{general}: a default prompt is not supported; remove 'default_prompt_name' and prefix the texts"
        )
    transformer = directory / "sentence_bert_config.json"
    lowercase = transformer.exists() and bool(_json_object(transformer).get("do_lower_case"))
    return {"pooling": pooling, "normalise": normalise, "lowercase": lowercase}


def _pooling_mode(path: Path) -> str:
    config = _json_object(path)
    chosen = [mode for key, mode in _POOLING_KEYS.items() if config.get(key)]
    chosen += [key for key, on in config.items() if key.startswith("pooling_mode_") and on and key not in _POOLING_KEYS]
    if "pooling_mode" in config:
        modes = config["pooling_mode"]
        chosen += modes if isinstance(modes, list) else [modes]
    if len(chosen) != 1 or chosen[0] not in POOLING_MODES:
        raise invalid(
            f"{path}: pooling {' + '.join(map(str, chosen)) or 'none'} is not supported; "
            f"supported: one of {', '.join(POOLING_MODES)}"
        )
    return str(chosen[0])


def _declared_lengths(directory: Path) -> Iterator[int]:
    for file, key in (("sentence_bert_config.json", "max_seq_length"), ("tokenizer_config.json", "model_max_length")):
        path = directory / file
        length = _json_object(path).get(key) if path.exists() else None
        if length is not None:
            yield int(length)
    yield 1 << 30  # neither file says anything


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    names = {int(index): str(name) for index, name in (config.get("id2label") or {}).items()}
    return tuple(names[index] for index in sorted(names))


def _json_object(path: Path) -> dict[str, Any]:
    value = _json(path)
    if not isinstance(value, dict):
        raise invalid(f"{path}: expected a JSON object")
    return value


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise invalid(f"'{path.parent}' has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise invalid(f"{path}: {error}") from None
