"""Read the directory of a text generator: architecture, task, lengths, and decoding settings.

Only JSON and the shapes of arrays are read here. Settings in generation_config.json that are not supported are noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings, read_settings
from slipway.convert.directory import Task, choose_task, declared_lengths
from slipway.errors import invalid
from slipway.runtime.arguments import FORCED
from slipway.transformer.spec import Positions, Stack, Transformer

_TEXT_TO_TEXT: Final = (Task.TEXT_TO_TEXT, Task.TRANSLATION, Task.SUMMARIZATION)
# The tasks of each model type that generates text; the first is the default.
TASKS: Final[Mapping[str, tuple[Task, ...]]] = {
    "bart": (Task.TEXT_TO_TEXT, Task.SUMMARIZATION, Task.TRANSLATION),
    "gpt2": (Task.TEXT_GENERATION,),
    "m2m_100": (Task.TRANSLATION, Task.TEXT_TO_TEXT),
    "marian": (Task.TRANSLATION, Task.TEXT_TO_TEXT),
    "mbart": (Task.TRANSLATION, Task.TEXT_TO_TEXT, Task.SUMMARIZATION),
    "mt5": _TEXT_TO_TEXT,
    "t5": _TEXT_TO_TEXT,
}
# Architectures with a head. GPT-2 and BART use their embedding as head, so their base models generate too.
_HEADS: Final = ("ForConditionalGeneration", "MTModel", "LMHeadModel", "GPT2Model", "BartModel")
_MULTILINGUAL: Final = ("m2m_100", "mbart")
_DEFAULT_TOKENS: Final = 128
_UNBOUNDED: Final = 1 << 20  # transformers writes a huge number where a tokenizer has no limit

# Supported keys of generation_config.json -> names of arguments.
_COPIED: Final = {
    "num_beams": "beam_width",
    "length_penalty": "len_penalty",
    "repetition_penalty": "repetition_penalty",
    "max_new_tokens": "max_output_len",
    "min_new_tokens": "min_length",
}
_SAMPLING: Final = {"temperature": "temperature", "top_k": "runtime_top_k", "top_p": "runtime_top_p"}
# Unsupported keys, with the values that have no effect.
_IGNORED: Final[Mapping[str, tuple[Any, ...]]] = {
    "no_repeat_ngram_size": (0,),
    "encoder_no_repeat_ngram_size": (0,),
    "num_beam_groups": (1,),
    "bad_words_ids": (),
    "suppress_tokens": ([],),
    "begin_suppress_tokens": ([],),
    "typical_p": (1.0,),
    "min_p": (),
}


@dataclass(frozen=True, slots=True)
class GenerationSource:
    """A checkpoint that generates text. `max_length` is the limit of the input in tokens, including special ones;
    `defaults` are arguments by name; `notes` lists how the served model differs from transformers."""

    directory: Path
    checkpoint: HuggingFaceCheckpoint
    task: Task
    max_length: int
    defaults: Mapping[str, str]
    notes: tuple[str, ...]

    @property
    def spec(self) -> Transformer:
        """The architecture."""
        return self.checkpoint.spec

    @property
    def decoder(self) -> Stack:
        """The decoder, which every text generator has."""
        if self.spec.decoder is None:
            raise invalid(f"'{self.directory}' has only an encoder and cannot generate text")
        return self.spec.decoder

    @property
    def continues(self) -> bool:
        """Whether it continues a prompt, that is, has no encoder."""
        return self.spec.encoder is None

    def room(self, tokens: int) -> int:
        """Return how many tokens can be generated for an input of `tokens`; a very large number if unlimited."""
        if self.decoder.positions is not Positions.TABLE:
            return _UNBOUNDED
        return self.decoder.position_rows - (tokens if self.continues else 0)


def generates(directory: Path) -> bool:
    """Return whether the directory's config.json describes a model that this package converts."""
    if not (directory / "config.json").is_file():
        return False
    settings = read_settings(directory)
    return settings.model_type in TASKS and settings.architecture.endswith(_HEADS)


def read_generation_source(directory: Path, task: Task | None) -> GenerationSource:
    """Return the source in `directory`; raise `SlipwayError` naming the file and the reason if it is unusable."""
    settings = read_settings(directory)
    tasks = TASKS[settings.model_type]
    chosen = choose_task(task, tasks, settings.architecture)
    checkpoint = read_huggingface(directory)
    spec = checkpoint.spec
    reader = spec.input_stack
    rows = reader.position_rows if reader.positions is Positions.TABLE else _UNBOUNDED
    defaults = _defaults(settings, continues=spec.encoder is None, rows=rows)
    if checkpoint.forced_first_id is not None:
        defaults[FORCED] = str(checkpoint.forced_first_id)
    # A prompt and its continuation share the positions.
    kept = min(int(defaults["max_output_len"]), rows // 2) if spec.encoder is None else 0
    return GenerationSource(
        directory=directory,
        checkpoint=checkpoint,
        task=chosen,
        max_length=min(rows - kept, _UNBOUNDED, *declared_lengths(directory)),
        defaults=defaults,
        notes=tuple(_notes(settings, checkpoint)),
    )


def _wishes(settings: HuggingFaceSettings) -> Mapping[str, Any]:
    """Return the decoding settings of the checkpoint, which older ones keep in config.json."""
    return settings.generation or settings.config


def _defaults(settings: HuggingFaceSettings, *, continues: bool, rows: int) -> dict[str, str]:
    """Return the default of each argument that the checkpoint sets."""
    wishes = _wishes(settings)
    copied = _COPIED | (_SAMPLING if wishes.get("do_sample") is True else {})
    defaults = {name: _number(settings, wishes, key) for key, name in copied.items() if wishes.get(key) is not None}
    if wishes.get("do_sample") is True:
        defaults.setdefault("runtime_top_k", "50")  # as in transformers
        defaults.pop("beam_width", None)
    if wishes.get("early_stopping") is True:
        defaults["early_stopping"] = "1"
    if not continues:  # both lengths in transformers include the start token
        for key, name in (("max_length", "max_output_len"), ("min_length", "min_length")):
            if wishes.get(key):
                defaults.setdefault(name, str(max(0, int(float(_number(settings, wishes, key))) - 1)))
    defaults.setdefault("max_output_len", str(max(1, min(_DEFAULT_TOKENS, rows // 2))))
    return defaults


def _number(settings: HuggingFaceSettings, wishes: Mapping[str, Any], key: str) -> str:
    value = wishes[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise invalid(f"{settings.path.parent}: '{key}' should be a number but is {value!r}")
    return f"{value:g}" if isinstance(value, float) else str(value)


def _notes(settings: HuggingFaceSettings, checkpoint: HuggingFaceCheckpoint) -> list[str]:
    wishes = _wishes(settings)
    notes = [
        f"generation_config.json sets {key} to {wishes[key]!r}, which is not supported and is ignored"
        for key, nothing in _IGNORED.items()
        if wishes.get(key) is not None and wishes[key] not in nothing
    ]
    if wishes.get("do_sample") is True and (wishes.get("num_beams") or 1) > 1:
        notes.append(
            "generation_config.json combines sampling with beam search; the served model samples without beams"
        )
    if checkpoint.model_type in _MULTILINGUAL and checkpoint.forced_first_id is None:
        notes.append(f"each request selects its target language by passing the id of the language token as {FORCED}")
    return notes
