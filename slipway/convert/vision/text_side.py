"""The side of a network of images and texts that reads texts, as the subject of a conversion, with its tokenizer.

The reference gets every text alone and without padding, unless the network expects padding.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from slipway.convert.arrays import MAX_BATCH_SIZE, Arrays
from slipway.convert.candidates.subject import Case, Interface
from slipway.convert.candidates.tracing import export_onnx, export_torch
from slipway.convert.directory import declared_lengths
from slipway.convert.sample import read_texts, sample_texts
from slipway.convert.tokenizer import copy_tokenizer, disagreement, open_reference
from slipway.convert.vision.network import ImageNetwork
from slipway.convert.vision.source import VisionSource
from slipway.core.signature import TensorSpec
from slipway.errors import invalid

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_IDS, _MASK = "input_ids", "attention_mask"
_FIELDS: Final = {_IDS: "ids", _MASK: "attention_mask"}
_TEXTS: Final = (
    "a photo of a cat",
    "two dogs on a beach, one of them jumping",
    "Invoice no. 4711: total $1,300 (incl. 19 % VAT)",
    "naïve café, Straße, Ελληνικά, 東京, 🙂",
    "",
    "word " * 300,  # longer than such a network reads: truncation
)


class PairText:
    """The tokenizer of a checkpoint and the number of tokens that its network reads."""

    def __init__(self, source: VisionSource, config: Any) -> None:
        """Open the tokenizer; raise `SlipwayError` if it cannot be opened or its copy disagrees."""
        directory = source.directory
        reference = open_reference(
            directory, lambda reason: invalid(f"cannot open the tokenizer of '{directory}': {reason}")
        )
        if reference.pad_token_id is None:
            raise invalid(f"the tokenizer of '{directory}' has no padding token")
        self.fixed = source.fixed_text
        self.longest = min(int(config.max_position_embeddings), *declared_lengths(directory))
        self.padding = int(reference.pad_token_id)
        self.vocabulary = int(config.vocab_size)
        if len(reference) > self.vocabulary:
            raise invalid(
                f"the tokenizer of '{directory}' has {len(reference)} tokens, but the network has {self.vocabulary}: "
                f"they come from different checkpoints"
            )
        self.tokenizer: Tokenizer = copy_tokenizer(reference, self.longest)
        if self.fixed:
            self.tokenizer.enable_padding(pad_id=self.padding, pad_token=str(reference.pad_token), length=self.longest)
        self._check(reference)

    @property
    def inputs(self) -> tuple[str, ...]:
        """The inputs of the network."""
        return (_IDS,) if self.fixed else (_IDS, _MASK)

    def encode(self, texts: Sequence[str]) -> Arrays:
        """Return the inputs of the network for texts, INT64 [rows, tokens]."""
        encodings = self.tokenizer.encode_batch(list(texts))
        return {name: np.array([getattr(each, _FIELDS[name]) for each in encodings], np.int64) for name in self.inputs}

    def _check(self, reference: Any) -> None:
        settings = {"truncation": True, "max_length": self.longest}
        for text in _TEXTS:
            expected = reference([text], padding="max_length" if self.fixed else False, **settings)[_IDS][0]
            if self.encode([text])[_IDS][0].tolist() != list(expected):
                raise disagreement(text)


class PairTextSubject:
    """The network of texts. Implements `candidates.subject.Subject`."""

    reference_name = "transformers in FP32"

    def __init__(self, network: ImageNetwork, side: PairText) -> None:
        self._network = network
        self._side = side
        tokens = side.longest if side.fixed else -1
        width = network.reference(side.encode(_TEXTS[:1]))["embedding"].shape[-1]
        self.interface = Interface(
            tuple(TensorSpec(name, "INT64", (tokens,)) for name in side.inputs),
            tuple(TensorSpec(name, "FP32", (width,)) for name in network.outputs),
            MAX_BATCH_SIZE,
            pad_values={} if side.fixed else {_IDS: side.padding, _MASK: 0},
            embeds=True,
            longest=0 if side.fixed else side.longest,
            measured=(side.longest,) if side.fixed else (),
        )

    def cases(self) -> list[Case]:
        """Return batches of real texts, of 1, 2 and many rows, padded and not."""
        return list(self._cases())

    def _cases(self) -> Iterator[Case]:
        yield self._case("one text", _TEXTS[:1])
        yield self._case("two texts", _TEXTS[:2])
        yield self._case("texts of many lengths", _TEXTS)
        texts = sample_texts()
        for start in range(0, len(texts), MAX_BATCH_SIZE):
            part = texts[start : start + MAX_BATCH_SIZE]
            yield self._case(f"sample text {start}-{start + len(part) - 1}", part, sampled=True)

    def _case(self, name: str, texts: Sequence[str], *, sampled: bool = False) -> Case:
        batch = self._side.encode(texts)
        return Case(name, batch, tuple(_alone(batch, row) for row in range(len(texts))), texts=sampled)

    def reference(self, alone: Arrays) -> Arrays:
        """Return the vectors of transformers for one text, without a mask, because it has no padding."""
        return self._network.reference({_IDS: alone[_IDS]})

    def sample(self, length: int, rows: int) -> Arrays:
        """Return random ids of `length` tokens, up to the maximum of the network, ended as texts are."""
        tokens = self._side.longest if self._side.fixed else max(2, min(length, self._side.longest))
        random = np.random.default_rng(tokens)
        ends = self._side.encode([_TEXTS[0]])
        ids = random.integers(0, self._side.vocabulary, (rows, tokens), dtype=np.int64)
        ids[:, -1] = ends[_IDS][0, -1]
        arrays = {_IDS: ids, _MASK: np.ones_like(ids)}
        return {name: arrays[name] for name in self._side.inputs}

    def calibration(self, path: Path | None) -> list[Arrays]:
        """Return each line of the user's file as a row, or each of the sample."""
        return [self._side.encode([text]) for text in (sample_texts() if path is None else read_texts(path))]

    def export_onnx(self, path: Path) -> None:
        """Trace the network to an ONNX file with variable rows, and variable tokens if it takes them."""
        export_onnx(self._network.module, self._side.encode(_TEXTS[:2]), self.interface, path)

    def export_torch(self, path: Path, precision: str) -> None:
        """Trace the network to TorchScript."""
        export_torch(self._network.module, self._side.encode(_TEXTS[:2]), path, precision)


def _alone(batch: Arrays, row: int) -> Arrays:
    """Return one row without its padding."""
    tokens = int(batch[_MASK][row].sum()) if _MASK in batch else batch[_IDS].shape[1]
    return {name: array[row : row + 1, :tokens] for name, array in batch.items()}
