"""Read the settings of an encoder in a Hugging Face directory: architecture, task, pooling, lengths.

Only JSON is read here; weights and tokenizer are loaded by encoder.py and tokenizer.py. A setting that cannot be
reproduced exactly is refused by name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import Task, choose_task, declared_lengths, read_json, read_json_object
from slipway.convert.options import HYPOTHESIS
from slipway.errors import invalid


@dataclass(frozen=True, slots=True)
class EncoderFamily:
    """The properties that differ between encoders, by `model_type`."""

    token_types: bool = True  # takes token_type_ids
    offset_positions: bool = False  # positions start after the padding id, as in fairseq


_FAIRSEQ: Final = EncoderFamily(token_types=False, offset_positions=True)
FAMILIES: Final[dict[str, EncoderFamily]] = {
    "albert": EncoderFamily(),
    "bert": EncoderFamily(),
    "camembert": _FAIRSEQ,
    "deberta-v2": EncoderFamily(),
    "distilbert": EncoderFamily(token_types=False),
    "electra": EncoderFamily(),
    "modernbert": EncoderFamily(token_types=False),
    "mpnet": _FAIRSEQ,
    "roberta": _FAIRSEQ,
    "xlm-roberta": _FAIRSEQ,
}
# The model types that generation/source.py reads.
GENERATING: Final = ("bart", "gpt2", "m2m_100", "marian", "mbart", "mt5", "t5")
_CLASSIFIER: Final = "ForSequenceClassification"
# The task that a head was trained for, by suffix of the architecture's name.
_HEADS: Final = {
    _CLASSIFIER: Task.CLASSIFICATION,
    "ForTokenClassification": Task.TOKENS,
    "ForQuestionAnswering": Task.QUESTIONS,
    "ForMaskedLM": Task.MASK,
    "ForPreTraining": Task.HIDDEN_STATES,
    "Model": Task.HIDDEN_STATES,
}
# Other tasks that the weights of a head can serve.
_ALSO: Final = {
    Task.CLASSIFICATION: (Task.RERANKING, Task.ZERO_SHOT, Task.HIDDEN_STATES),
    Task.RERANKING: (Task.CLASSIFICATION, Task.HIDDEN_STATES),
    Task.ZERO_SHOT: (Task.CLASSIFICATION, Task.HIDDEN_STATES),
    Task.TOKENS: (Task.HIDDEN_STATES,),
    Task.QUESTIONS: (Task.HIDDEN_STATES,),
    Task.MASK: (Task.HIDDEN_STATES,),
    Task.EMBEDDING: (Task.HIDDEN_STATES,),
    Task.HIDDEN_STATES: (),
}

_ACTIVATION: Final = "sbert_ce_default_activation_function"  # in cross-encoders before sentence-transformers 4

POOLING_MODES: Final = ("cls", "mean", "max", "mean_sqrt_len_tokens")
_POOLING_KEYS: Final = {  # the boolean keys of sentence-transformers before version 5
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
}


@dataclass(frozen=True, slots=True)
class EncoderSource:
    """A checkpoint that can be converted; `max_length` includes special tokens."""

    directory: Path
    family: EncoderFamily
    task: Task
    max_length: int
    vocabulary_size: int
    padding_id: int
    pooling: str = ""
    normalise: bool = False
    lowercase: bool = False
    prompt: str = ""  # put before every text
    labels: tuple[str, ...] = ()
    scores: str = "softmax"  # function from logits to scores: softmax, sigmoid (each label separately), none
    raw_score: bool = False  # reranking: the logit itself is the score
    entailment: int = 0  # zero-shot: the label that means "yes"
    hypothesis: str = HYPOTHESIS

    @property
    def input_names(self) -> tuple[str, ...]:
        """The encoder's inputs, each INT64 [rows, tokens]."""
        return ("input_ids", "attention_mask", *(("token_type_ids",) if self.family.token_types else ()))


def read_source(directory: Path, *, task: Task | None = None, hypothesis: str = HYPOTHESIS) -> EncoderSource:
    """Return the source in `directory`; raise `SlipwayError` naming the file and the reason if it is unusable."""
    if not directory.is_dir():
        raise invalid(f"'{directory}' is not a directory")
    config = read_json_object(directory / "config.json")
    model_type = str(config.get("model_type", ""))
    architecture = str((config.get("architectures") or [""])[0])
    family = FAMILIES.get(model_type)
    if family is None:
        raise invalid(
            f"architecture '{architecture or model_type}' (model_type '{model_type}') is not supported; "
            f"supported model types: {', '.join(FAMILIES)}; for text generation: {', '.join(GENERATING)}"
        )
    sentence = _sentence_transformers(directory)
    labels = _labels(config)
    found = Task.EMBEDDING if sentence else _task(architecture, model_type, labels)
    chosen = choose_task(task, (found, *_ALSO[found]), architecture)
    if chosen is Task.ZERO_SHOT and ("{}" not in hypothesis or "entailment" not in _lower(labels)):
        raise invalid("zero-shot needs a label 'entailment' and a hypothesis template that contains {}")
    padding_id = _padding_id(config, family)
    positions = int(config.get("max_position_embeddings", 512)) - (padding_id + 1 if family.offset_positions else 0)
    return EncoderSource(
        directory=directory,
        family=family if int(config.get("type_vocab_size", 1)) else EncoderFamily(token_types=False),
        task=chosen,
        max_length=min(positions, *declared_lengths(directory)),
        vocabulary_size=_integer(config, "vocab_size", directory),
        padding_id=padding_id,
        labels=labels if found not in (Task.EMBEDDING, Task.HIDDEN_STATES, Task.MASK, Task.QUESTIONS) else (),
        scores=_scores(config, labels),
        raw_score=_is_raw(config),
        entailment=_lower(labels).index("entailment") if chosen is Task.ZERO_SHOT else 0,
        hypothesis=hypothesis,
        **((sentence or {}) if chosen is Task.EMBEDDING else {}),
    )


def _integer(config: dict[str, Any], key: str, directory: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        raise invalid(f"{directory / 'config.json'}: '{key}' should be an integer but is {value!r}")
    return value


def _padding_id(config: dict[str, Any], family: EncoderFamily) -> int:
    """Return the padding id, or transformers' default for the family if the config does not set it."""
    value = config.get("pad_token_id")
    return int(value) if value is not None else int(family.offset_positions)


def _scores(config: dict[str, Any], labels: tuple[str, ...]) -> str:
    """Return the function that the pipeline of transformers applies to this classifier's logits."""
    problem = config.get("problem_type")
    if problem == "regression":
        return "none"
    return "sigmoid" if problem == "multi_label_classification" or len(labels) == 1 else "softmax"


def _is_raw(config: dict[str, Any]) -> bool:
    """Return whether a reranker's score is the logit itself, as sentence-transformers reads the config."""
    activation = str(config.get("sentence_transformers") or config.get(_ACTIVATION) or "")
    return "Identity" in activation or config.get("problem_type") == "regression"


def _task(architecture: str, model_type: str, labels: tuple[str, ...]) -> Task:
    task = next((task for suffix, task in _HEADS.items() if architecture.endswith(suffix)), None)
    if architecture and task is None:
        raise invalid(
            f"architecture '{architecture}' is not supported; supported for model_type '{model_type}': "
            f"*{', *'.join(_HEADS)}, and sentence-transformers directories"
        )
    if task is not Task.CLASSIFICATION:
        return task or Task.HIDDEN_STATES
    if "entailment" in _lower(labels):
        return Task.ZERO_SHOT
    return Task.RERANKING if len(labels) == 1 else task


def _lower(labels: tuple[str, ...]) -> list[str]:
    return [label.lower() for label in labels]


def _sentence_transformers(directory: Path) -> dict[str, Any] | None:
    """Return the settings of a sentence-transformers directory, or None if it is not one."""
    path = directory / "modules.json"
    if not path.exists():
        return None
    pooling, normalise = "", False
    modules = read_json(path)
    for module in modules if isinstance(modules, list) else [modules]:
        kind = str(module.get("type") if isinstance(module, dict) else module).rpartition(".")[2]
        if kind == "Pooling":
            pooling = _pooling_mode(directory / str(module.get("path", "")) / "config.json")
        elif kind == "Normalize":
            normalise = True
        elif kind != "Transformer":
            raise invalid(f"{path}: module '{kind}' is not supported; supported: Transformer, Pooling, Normalize")
    if not pooling:
        raise invalid(f"{path}: no Pooling module, so the embedding of a text is undefined")
    transformer = directory / "sentence_bert_config.json"
    lowercase = transformer.exists() and bool(read_json_object(transformer).get("do_lower_case"))
    return {"pooling": pooling, "normalise": normalise, "lowercase": lowercase, "prompt": _prompt(directory)}


def _prompt(directory: Path) -> str:
    """Return the default prompt of a sentence-transformers directory, "" if it has none."""
    path = directory / "config_sentence_transformers.json"
    general = read_json_object(path) if path.exists() else {}
    name = general.get("default_prompt_name")
    if name is None:
        return ""
    prompts = general.get("prompts") or {}
    if name not in prompts:
        raise invalid(f"{path}: the default prompt '{name}' is not among the prompts: {', '.join(prompts) or 'none'}")
    return str(prompts[name])


def _pooling_mode(path: Path) -> str:
    config = read_json_object(path)
    if config.get("include_prompt") is False:
        raise invalid(f"{path}: pooling without the prompt (include_prompt) is not supported")
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


def _labels(config: dict[str, Any]) -> tuple[str, ...]:
    default = {index: f"LABEL_{index}" for index in range(int(config.get("num_labels") or 2))}  # as transformers does
    try:
        names = {int(index): str(name) for index, name in (config.get("id2label") or default).items()}
    except (AttributeError, ValueError):
        raise invalid(f"config.json: 'id2label' should map numbers to names but is {config['id2label']!r}") from None
    return tuple(names[index] for index in sorted(names))
