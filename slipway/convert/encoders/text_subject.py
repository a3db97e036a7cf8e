"""A text model as the subject of a conversion: the cases for its gate, and its reference.

The reference gets every row alone and without padding, and its pooling is computed here in numpy. So a mistake in the
exported head, in masking or in batching shows up as a difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.convert.candidates.tracing import export_onnx, export_torch
from slipway.convert.directory import Task
from slipway.convert.encoders.encoder import build_encoder
from slipway.convert.encoders.forms import completed
from slipway.convert.encoders.reference import reference_of
from slipway.convert.encoders.source import EncoderSource
from slipway.convert.encoders.tasks import TASKS, encoder_inputs
from slipway.convert.encoders.tokenizer import encode, encode_texts
from slipway.convert.libraries import cause_of
from slipway.errors import invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SHORT: Final = 9
_MOST_TOKENS: Final = 2048  # of a row in the gate
_MOST_LOGITS: Final = 16_000_000  # of a row in the gate: 64 MB, or BERT's vocabulary at 512 tokens
_LABELS: Final = 3  # candidate labels in a zero-shot case

TEXTS: Final = (
    "The cat sat on the mat.",
    "Stocks rallied and the British pound gained.",
    "A quarterly report: revenue rose 4.2% to $1,300 million, but margins fell; analysts had expected the opposite.",
    "naïve café, Straße, Ελληνικά, 東京, 🙂 and\ttabs\nand lines",
    "Hi",
    "",
    "word " * 600,  # longer than any supported encoder accepts: truncation
)


class TextSubject:
    """One Hugging Face checkpoint. Implements `subject.Subject`."""

    reference_name = "transformers in FP32"

    def __init__(self, source: EncoderSource, network: Any, tokenizer: Tokenizer, texts: Sequence[str]) -> None:
        self._source = source
        self._network = network
        self._tokenizer = tokenizer
        self._texts = texts
        self._read = reference_of(source) if source.task is not Task.ZERO_SHOT else None
        row = TASKS[source.task]
        outputs = row.outputs(source, network.config)
        first = source.input_names[0]
        self.interface = Interface(
            encoder_inputs(source),
            outputs,
            MAX_BATCH_SIZE,
            pad_values={name: source.padding_id if name == first else 0 for name in source.input_names},
            trims=tuple((output.name, 0, first, 0) for output in outputs if output.dims[0] == -1),
            compares_labels=row.compares_labels,
            embeds=source.task in (Task.EMBEDDING, Task.HIDDEN_STATES),
            longest=source.max_length,
        )

    def cases(self) -> list[Case]:
        """Return real text and random ids: batch sizes 1, 2 and max, lengths 1, short and max, padded and unpadded."""
        return list(self._cases())

    def _cases(self) -> Iterator[Case]:
        yield replace(self._case(f"real text, {len(TEXTS)} padded rows", self._encode(TEXTS)), texts=True)
        yield self._case("real text, one row", self._encode(TEXTS[:1]))
        size = self.interface.max_batch_size
        texts = self._texts[:size] if self._source.task is Task.MASK else self._texts
        for start in range(0, len(texts), size):
            part = texts[start : start + size]
            name = f"sample text {start}-{start + len(part) - 1}, padded rows"
            yield replace(self._case(name, self._encode(part)), texts=True)
        random = np.random.default_rng(0)
        longest = self._longest()
        short = min(max(SHORT, self._fewest), longest)
        fewest = self._fewest
        for rows, tokens in ((1, fewest), (1, short), (2, short), (size, short), (1, longest), (2, longest)):
            yield self._case(f"random ids, {rows} x {tokens}", self._random(random, [tokens] * rows))
            if rows > 1 and tokens > fewest:
                lengths = [fewest + row * (tokens - fewest) // (rows - 1) for row in range(rows)]
                yield self._case(f"random ids, {rows} x {tokens} padded", self._random(random, lengths))

    @property
    def _fewest(self) -> int:
        """The minimum number of tokens of a text: one more than the prompt's tokens, if these are not pooled, or than
        the separators that it must have."""
        return 1 + max(self._source.prompt_tokens, self._separators)

    @property
    def _separators(self) -> int:
        """The number of separators that a row must have."""
        return self._source.family.questions.separators if self._source.task is Task.QUESTIONS else 0

    def _longest(self) -> int:
        """Return the longest row to compare: the model's maximum, unless that takes gigabytes.

        The plain attention of the reference holds tokens x tokens numbers per head, and fill-mask logits hold
        tokens x vocabulary numbers.
        """
        longest = min(self._source.max_length, _MOST_TOKENS)
        if self._source.task is Task.MASK:
            longest = min(longest, max(SHORT, _MOST_LOGITS // self._source.vocabulary_size))
        return longest

    def _encode(self, texts: Sequence[str]) -> Arrays:
        if self._source.task is Task.ZERO_SHOT:
            labels = ["travel", "cooking", "dancing"]
            pairs = [(text, self._source.hypothesis.replace("{}", label)) for text in texts for label in labels]
            flat = encode(self._tokenizer, pairs, self._source.input_names)
            return {name: array.reshape(len(texts), len(labels), -1) for name, array in flat.items()}
        return encode_texts(self._source, self._tokenizer, texts)

    def _random(self, random: np.random.Generator, lengths: Sequence[int]) -> Arrays:
        source = self._source
        ids = random.integers(0, source.vocabulary_size - 1, (len(lengths), max(lengths)), dtype=np.int64)
        ids += ids >= source.padding_id  # no padding tokens inside a text
        mask = (np.arange(max(lengths)) < np.array(lengths)[:, None]).astype(np.int64)
        if self._separators:
            _separate(ids, lengths, self._network.config.sep_token_id, self._separators)
        if source.family.ends:
            ids[np.arange(len(ids)), np.array(lengths) - 1] = source.end_id
        ids[mask == 0] = source.padding_id
        arrays = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        if source.task is Task.ZERO_SHOT:
            arrays = {name: np.stack([array] * _LABELS, 1) for name, array in arrays.items()}
        return {name: arrays[name] for name in source.input_names}

    def _case(self, name: str, batch: Arrays) -> Case:
        return Case(name, batch, tuple(_alone(batch, row) for row in range(len(batch["input_ids"]))))

    def reference(self, alone: Arrays) -> Arrays:
        """Return the expected outputs of one text: transformers' network on its tokens alone, pooled in numpy."""
        if self._read is not None:
            return self._read(self._answer(alone))
        labels = [
            _alone({name: array[0] for name, array in alone.items()}, row) for row in range(alone["input_ids"].shape[1])
        ]
        logits = [self._answer(each).logits[0, self._source.entailment] for each in labels]
        return {"entailment": np.array([logits], np.float32)}

    def _answer(self, alone: Arrays) -> Any:
        """Run the network without a mask, because a single row has no padding."""
        import torch

        names = [name for name in alone if name != "attention_mask"]
        inputs = {name: torch.from_numpy(np.ascontiguousarray(alone[name])) for name in names}
        try:
            with torch.inference_mode():
                return self._network(**completed(self._network, inputs))
        except (AssertionError, IndexError, RuntimeError, ValueError) as error:
            tokens = alone["input_ids"].shape[-1]
            raise invalid(f"transformers cannot compute a text of {tokens} tokens: {cause_of(error)}") from error

    def sample(self, length: int, rows: int) -> Arrays:
        """Return random ids of exactly `length` tokens, up to the maximum of the model."""
        tokens = min(max(length, self._fewest), self._source.max_length)
        return self._random(np.random.default_rng(tokens), [tokens] * rows)

    def calibration(self, texts: Sequence[str]) -> list[Arrays]:
        """Return each text as a row, and rows of random ids, because served texts contain other words."""
        random = np.random.default_rng(1)
        longest = min(self._source.max_length, 128)
        lengths = random.integers(self._fewest, max(longest, self._fewest) + 1, max(1, len(texts) // 2))
        return [self._encode([text]) for text in texts] + [self._random(random, [int(size)]) for size in lengths]

    def export_onnx(self, path: Path) -> None:
        """Trace the encoder to an ONNX file with variable rows and tokens."""
        export_onnx(build_encoder(self._source, self._network), self._example(), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:
        """Trace the encoder to TorchScript."""
        export_torch(build_encoder(self._source, self._network), self._example(), path, precision)

    def _example(self) -> Arrays:
        # Two rows of unequal length: without padding, the trace would record "nothing is masked" as a constant.
        longest = min(6 + self._fewest, self._source.max_length)
        return self._random(np.random.default_rng(2), [longest, max(self._fewest, longest // 2)])


def _separate(ids: np.ndarray, lengths: Sequence[int], separator: int, count: int) -> None:
    """Put `count` separators into each row, as around two texts: the last at its end, the others in the first half."""
    for row, length in zip(ids, lengths, strict=True):
        row[row == separator] = row[row != separator][0]
        first = max(1, length // 3)
        row[first : first + count - 1] = separator
        row[length - 1] = separator


def _alone(batch: Arrays, row: int) -> Arrays:
    """Return one row without its padding."""
    mask = batch["attention_mask"][row]
    length = int(mask.sum(-1).max())
    return {name: array[row : row + 1, ..., :length] for name, array in batch.items()}
