"""BLEU of translated dev sentences: the engine that serves decodes a checkpoint. Imports torch with the engine."""

from __future__ import annotations

from itertools import islice
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.hparams import HParams
from slipway.checkpoints.tensor2tensor.reader import read_tensor2tensor
from slipway.checkpoints.tensor2tensor.subwords import END_ID, PAD_ID
from slipway.errors import unavailable
from slipway.installation import install_hint
from slipway.train.loader import Share
from slipway.train.training_data import TrainingData

SENTENCES: Final = 512  # at most, from the beginning of the dev split
_ROWS: Final = 64
_MORE_TOKENS: Final = 50  # than the source has


def translation_bleu(checkpoint: Path, hparams: HParams, corpus: TrainingData, share: Share) -> dict[str, float]:
    """Return `sacrebleu` (0 to 100) and `exact_match` (0 to 1) of greedy translations of the dev split's sentences.

    Only the first process computes; the others, and a corpus without texts or without a dev split, return no
    figures.
    """
    if corpus.dev is None or corpus.decode is None or share.rank:
        return {}
    try:
        import sacrebleu
    except ImportError:
        raise unavailable(f"BLEU of the dev split needs the package sacrebleu: {install_hint('train')}") from None
    from slipway.transformer.generation import Decoding, SequenceRequest, collect
    from slipway.transformer.torch_engine.engine import TorchEngine

    pairs = list(islice(corpus.dev(), SENTENCES))
    if not pairs:
        return {}
    opened = read_tensor2tensor(checkpoint, hparams, corpus.vocabulary)
    engine = TorchEngine.open(opened.spec, opened.weights)
    translations: list[str] = []
    try:
        for start in range(0, len(pairs), _ROWS):
            rows = [
                SequenceRequest(inputs, Decoding(len(inputs) + _MORE_TOKENS, start_id=PAD_ID, end_id=END_ID))
                for inputs, _ in pairs[start : start + _ROWS]
            ]
            translations += [corpus.decode(_text_ids(found[0].ids)) for found in collect(engine, rows)]
    finally:
        engine.close()
    references = [corpus.decode(_text_ids(targets.tolist())) for _, targets in pairs]
    same = sum(a == b for a, b in zip(references, translations, strict=True))
    score = float(sacrebleu.corpus_bleu(translations, [references]).score)
    return {"sacrebleu": score, "exact_match": same / len(pairs)}


def _text_ids(ids: tuple[int, ...] | list[int]) -> list[int]:
    """Return the ids before the end token, without padding."""
    text = ids[: ids.index(END_ID)] if END_ID in ids else ids
    return [token for token in text if token != PAD_ID]
