"""Read the directory of a text generator: architecture, task, lengths, and decoding settings.

Only JSON and the shapes of arrays are read here. Settings of the checkpoint that are not supported are noted.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.checkpoints.huggingface.decoder_families import DECODER_FAMILIES
from slipway.checkpoints.huggingface.reader import HuggingFaceCheckpoint, read_huggingface
from slipway.checkpoints.huggingface.settings import read_settings
from slipway.convert.directory import Task, choose_task, declared_lengths
from slipway.convert.generation.generation_settings import Wishes
from slipway.convert.generation.tokenizer_settings import tokenizer_notes
from slipway.errors import invalid
from slipway.runtime.arguments import FORCED
from slipway.transformer.spec import Positions, Stack, Transformer

_TEXT_TO_TEXT: Final = (Task.TEXT_TO_TEXT, Task.TRANSLATION, Task.SUMMARIZATION)
# The tasks of each model type that generates text; the first is the default.
TASKS: Final[Mapping[str, tuple[Task, ...]]] = {
    "bart": (Task.TEXT_TO_TEXT, Task.SUMMARIZATION, Task.TRANSLATION),
    "blenderbot": (Task.TEXT_TO_TEXT,),
    "gpt2": (Task.TEXT_GENERATION,),
    "m2m_100": (Task.TRANSLATION, Task.TEXT_TO_TEXT),
    "marian": (Task.TRANSLATION, Task.TEXT_TO_TEXT),
    "mbart": (Task.TRANSLATION, Task.TEXT_TO_TEXT, Task.SUMMARIZATION),
    "mt5": _TEXT_TO_TEXT,
    "pegasus": (Task.SUMMARIZATION, Task.TEXT_TO_TEXT),
    "t5": _TEXT_TO_TEXT,
    "umt5": _TEXT_TO_TEXT,
    **dict.fromkeys(DECODER_FAMILIES, (Task.TEXT_GENERATION,)),
}
# Architectures with a head. GPT-2 and BART use their embedding as head, so their base models generate too.
_HEADS: Final = ("ForConditionalGeneration", "MTModel", "LMHeadModel", "GPT2Model", "BartModel")
_DECODER_HEADS: Final = ("ForCausalLM", "Gemma3ForConditionalGeneration")
_MULTILINGUAL: Final = ("m2m_100", "mbart")
_UNBOUNDED: Final = 1 << 20  # transformers writes a huge number where a tokenizer has no limit


@dataclass(frozen=True, slots=True)
class GenerationSource:
    """A checkpoint that generates text. `max_length` is the limit of the input in tokens, including special ones;
    `defaults` are parameters of the config by name; `notes` lists how the served model differs from transformers.
    `limited` says that the checkpoint itself limits the length of what it generates."""

    directory: Path
    checkpoint: HuggingFaceCheckpoint
    task: Task
    max_length: int
    defaults: Mapping[str, str]
    notes: tuple[str, ...]
    limited: bool = False

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
        return self.spec.continues

    @property
    def context(self) -> int:
        """The longest text in tokens: a prompt with its continuation, or the input of an encoder; 0 if unlimited."""
        if self.continues:
            return self.spec.input_stack.longest
        return self.max_length if self.max_length < _UNBOUNDED else 0

    def room(self, tokens: int) -> int:
        """Return how many tokens can be generated for an input of `tokens`; a very large number if unlimited."""
        if not self.decoder.longest:
            return _UNBOUNDED
        return self.decoder.longest - (tokens if self.continues else 0)


def generates(directory: Path) -> bool:
    """Return whether the directory's config.json describes a model that this package converts."""
    if not (directory / "config.json").is_file():
        return False
    settings = read_settings(directory)
    heads = _DECODER_HEADS if settings.model_type in DECODER_FAMILIES else _HEADS
    return settings.model_type in TASKS and settings.architecture.endswith(heads)


def read_generation_source(directory: Path, task: Task | None) -> GenerationSource:
    """Return the source in `directory`; raise `SlipwayError` naming the file and the reason if it is unusable."""
    settings = read_settings(directory)
    tasks = TASKS[settings.model_type]
    chosen = choose_task(task, tasks, settings.architecture)
    checkpoint = read_huggingface(directory)
    spec = checkpoint.spec
    rows = spec.input_stack.longest or _UNBOUNDED
    wishes = Wishes.of(settings)
    defaults = wishes.defaults(continues=spec.continues, rows=rows)
    # A prompt and its continuation share the positions.
    following = int(defaults.get("max_output_len", rows // 2))
    kept = min(following, rows // 2) if spec.continues else 0
    return GenerationSource(
        directory=directory,
        checkpoint=checkpoint,
        task=chosen,
        max_length=min(rows - kept, _UNBOUNDED, *declared_lengths(directory)),
        defaults=defaults,
        notes=(*_notes(wishes, checkpoint), *tokenizer_notes(directory, chats=True)),
        limited=wishes.limited,
    )


def _notes(wishes: Wishes, checkpoint: HuggingFaceCheckpoint) -> list[str]:
    notes = list(wishes.notes(continues=checkpoint.spec.continues))
    ignored = checkpoint.ignored_settings
    notes += [f"config.json sets {name}, which is not a known setting and is ignored" for name in ignored]
    if checkpoint.model_type in _MULTILINGUAL and wishes.values.get("forced_bos_token_id") is None:
        notes.append(f"each request selects its target language by passing the id of the language token as {FORCED}")
    if checkpoint.model_type == "falcon" and checkpoint.spec.output_stack.positions is Positions.ALIBI:
        notes.append("ALiBi's penalties are exact; transformers rounds those of Falcon to bfloat16")
    if checkpoint.model_type == "umt5" and checkpoint.spec.logit_scale == 1.0:
        notes.append(
            "config.json sets tie_word_embeddings to false, so logits are not scaled before sampling and beam search; "
            "transformers 5 ignores it and scales them"
        )
    if wishes.settings.config.get("auto_map"):
        notes.append("config.json refers to its own Python code (auto_map), which is not run")
    return notes
