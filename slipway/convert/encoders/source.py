"""Read the settings of an encoder in a Hugging Face directory: architecture, task, pooling, lengths.

Only JSON is read here; weights and tokenizer are loaded by encoder.py and tokenizer.py. A setting that cannot be
reproduced exactly is refused by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import Task, choose_task, declared_lengths, read_json_object, whole_number
from slipway.convert.encoders.families import FAMILIES, HEADS, EncoderFamily, unknown_family, unknown_head
from slipway.convert.encoders.sentence import SentenceDirectory, SentenceHead, read_sentence_directory
from slipway.convert.labels import read_labels, score_function
from slipway.convert.options import HYPOTHESIS
from slipway.errors import invalid

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
_UNLABELLED: Final = (Task.EMBEDDING, Task.HIDDEN_STATES, Task.MASK, Task.QUESTIONS)
_ACTIVATION: Final = "sbert_ce_default_activation_function"  # in cross-encoders before sentence-transformers 4
_LENGTHS: Final = ("max_position_embeddings", "n_positions")
_TORCH: Final = "torch."
_BOUNDLESS: Final = 512  # tokens, if a directory sets no length; the usual training length of the supported encoders


@dataclass(frozen=True, slots=True)
class EncoderSource:
    """A checkpoint that can be converted; `max_length` includes special tokens; `notes` name differences between the
    served model and the source, and settings that are not used."""

    directory: Path
    family: EncoderFamily
    model_type: str
    architecture: str
    task: Task
    max_length: int
    vocabulary_size: int
    padding_id: int
    end_id: int = 0
    head: SentenceHead | None = None  # of embeddings
    lowercase: bool = False
    prompt: str = ""  # put before every text, or before the first text of a pair
    prompts: Mapping[str, str] = field(default_factory=dict)  # that a client may choose instead, by name
    prompt_tokens: int = 0  # tokens of the prompt, if they are not pooled
    labels: tuple[str, ...] = ()
    scores: str = "softmax"  # function from logits to scores: softmax, sigmoid (each label separately), none
    activation: str = "Sigmoid"  # reranking: the torch.nn class that turns a logit into a score
    entailment: int = 0  # zero-shot: the label that means "yes"
    hypothesis: str = HYPOTHESIS
    notes: tuple[str, ...] = ()

    @property
    def input_names(self) -> tuple[str, ...]:
        """The encoder's inputs, each INT64 [rows, tokens]."""
        return ("input_ids", "attention_mask", *(("token_type_ids",) if self.family.token_types else ()))


def read_source(directory: Path, *, task: Task | None = None, hypothesis: str = HYPOTHESIS) -> EncoderSource:
    """Return the source in `directory`; raise `SlipwayError` naming the file and the reason if it is unusable."""
    if not directory.is_dir():
        raise invalid(f"'{directory}' is not a directory")
    sentence = read_sentence_directory(directory)
    place = sentence.transformer if sentence else directory
    config = read_json_object(place / "config.json")
    model_type = str(config.get("model_type", ""))
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    family = FAMILIES.get(model_type)
    if family is None:
        raise unknown_family(architecture, model_type)
    labels = read_labels(config)
    found = _found(sentence, task, architecture, model_type, labels)
    chosen = _chosen(task, found, family, architecture)
    if chosen is Task.ZERO_SHOT and ("{}" not in hypothesis or "entailment" not in _lower(labels)):
        raise invalid("zero-shot needs a label 'entailment' and a hypothesis template that contains {}")
    longest = min(_positions(config, family), *declared_lengths(place))
    embeds = sentence is not None and (chosen is Task.EMBEDDING or sentence.head is None)
    return EncoderSource(
        directory=place,
        family=family if _whole(config, "type_vocab_size", 1) else EncoderFamily(token_types=False),
        model_type=model_type,
        architecture=architecture,
        task=chosen,
        max_length=longest,
        vocabulary_size=_integer(config, "vocab_size", place),
        padding_id=_padding_id(config, family),
        end_id=_first(config.get("eos_token_id"), 1),
        head=sentence.head if sentence and chosen is Task.EMBEDDING else None,
        lowercase=sentence.lowercase if sentence and embeds else False,
        prompt=sentence.prompt if sentence and embeds else "",
        prompts=sentence.prompts if sentence and embeds else {},
        labels=labels if found not in _UNLABELLED else (),
        scores=score_function(config, labels),
        activation=_activation(config, sentence),
        entailment=_lower(labels).index("entailment") if chosen is Task.ZERO_SHOT else 0,
        hypothesis=hypothesis,
        notes=(*(sentence.notes if sentence else ()), *_family_notes(family, chosen, longest)),
    )


def _family_notes(family: EncoderFamily, task: Task, longest: int) -> list[str]:
    notes = (family.note, family.questions.note if task is Task.QUESTIONS else "")
    return [note.format(longest=longest) for note in notes if note]


def _found(
    sentence: SentenceDirectory | None, asked: Task | None, architecture: str, model_type: str, labels: tuple[str, ...]
) -> Task:
    """Return the task that the directory was made for."""
    if sentence is not None and sentence.head is not None:
        return Task.EMBEDDING
    task = _task(architecture, model_type, labels, asked)
    if sentence is not None and task is Task.CLASSIFICATION and asked is None:
        raise invalid(
            f"a cross-encoder with {len(labels)} labels scores pairs of texts, and none of the tasks returns labels "
            f"for a pair: --task text-classification takes one text, --task reranking returns the first score"
        )
    return task


def _chosen(asked: Task | None, found: Task, family: EncoderFamily, architecture: str) -> Task:
    served = [each for each in (found, *_ALSO[found]) if each is found or each not in family.without]
    return choose_task(asked, served, architecture)


def _whole(config: dict[str, Any], key: str, default: int) -> int:
    value = config.get(key)
    return default if value is None else whole_number(value, f"config.json: '{key}'")


def _integer(config: dict[str, Any], key: str, directory: Path) -> int:
    value = config.get(key)
    if not isinstance(value, int):
        raise invalid(f"{directory / 'config.json'}: '{key}' should be an integer but is {value!r}")
    return value


def _positions(config: dict[str, Any], family: EncoderFamily) -> int:
    """Return the number of tokens that the network has positions for."""
    rows = next((_whole(config, key, 0) for key in _LENGTHS if config.get(key)), _BOUNDLESS)
    if family.form == "full attention":  # transformers attends to all tokens of texts up to this length
        rows = min(rows, (5 + 2 * _whole(config, "num_random_blocks", 3)) * _whole(config, "block_size", 64))
    begin = family.first_position or _padding_id(config, family) + 1
    return rows - (begin if family.offset_positions else 0)


def _padding_id(config: dict[str, Any], family: EncoderFamily) -> int:
    """Return the padding id, or transformers' default for the family if the config does not set it."""
    return _whole(config, "pad_token_id", family.padding)


def _first(value: Any, default: int) -> int:
    each = value[0] if isinstance(value, list) and value else value
    return each if isinstance(each, int) else default


def _activation(config: dict[str, Any], sentence: SentenceDirectory | None) -> str:
    """Return the torch.nn class that turns a reranker's logit into its score, as sentence-transformers finds it."""
    own = config.get("sentence_transformers")
    path = (
        (sentence.activation if sentence else "")
        or (str(own.get("activation_fn") or "") if isinstance(own, dict) else "")
        or str(config.get(_ACTIVATION) or "")
    )
    if not path:
        return "Identity" if config.get("problem_type") == "regression" else "Sigmoid"
    if not path.startswith(_TORCH):
        raise invalid(f"the activation '{path}' of this reranker is custom code; supported: classes of torch.nn")
    return path.rpartition(".")[2]


def _task(architecture: str, model_type: str, labels: tuple[str, ...], asked: Task | None) -> Task:
    task = next((task for suffix, task in HEADS.items() if architecture.endswith(suffix)), None)
    without = FAMILIES[model_type].without
    if architecture and (task is None or task in without):
        if asked is not Task.HIDDEN_STATES or Task.HIDDEN_STATES in without:
            raise unknown_head(architecture, model_type)
        return Task.HIDDEN_STATES
    if task is not Task.CLASSIFICATION:
        return task or Task.HIDDEN_STATES
    if "entailment" in _lower(labels):
        return Task.ZERO_SHOT
    return Task.RERANKING if len(labels) == 1 else task


def _lower(labels: tuple[str, ...]) -> list[str]:
    return [label.lower() for label in labels]
