"""Translate all records of a file as tensor2tensor does: sorted by length, in batches, written in their order.

Records are separated by a delimiter, usually a newline; surrounding spaces do not count. Every record has exactly one
record in the output.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.atomic_file import atomic_file
from slipway.checkpoints.tensor2tensor.decode_hparams import BATCH_OF_FILE, DecodeHParams
from slipway.checkpoints.tensor2tensor.subwords import END_ID
from slipway.errors import invalid, not_found
from slipway.runtime.translation import EMPTY, Translation
from slipway.transformer.generation import Hypothesis, TransformerEngine, collect

_TAB: Final = "\t"


def decode_records(
    records: Sequence[str], translation: Translation, engine: TransformerEngine, show: Callable[[int], None]
) -> list[str]:
    """Return the output record of each record; `show` is called before each batch with the number that are done."""
    settings = translation.settings
    found: dict[int, str] = {}
    order = sorted(range(len(records)), key=lambda index: -len(records[index].split()))  # as tensor2tensor: words
    size = settings.batch_size or BATCH_OF_FILE
    for start in range(0, len(order), size):
        show(start)
        batch = order[start : start + size]
        rows = {index: ids for index in batch if (ids := translation.encode(records[index])) is not None}
        results = collect(engine, [translation.row(ids) for ids in rows.values()]) if rows else []
        hypotheses = dict(zip(rows, results, strict=True))
        for index in batch:
            found[index] = output_record(translation, hypotheses.get(index, [EMPTY]))
    return [found[index] for index in range(len(records))]


def output_record(translation: Translation, hypotheses: Sequence[Hypothesis]) -> str:
    """Return the text of the best hypothesis, or of every beam, separated by tabs, each before its score if wanted."""
    settings = translation.settings
    beams = translation.beams(hypotheses)
    texts = [_in_one_record(translation.text(each.ids), settings) for each in beams]
    if settings.return_beams and settings.write_beam_scores:
        scored = zip(texts, beams, strict=True)
        return _TAB.join(f"{text}{_TAB}{each.score:.2f}" for text, each in scored)
    return _TAB.join(texts)


def read_records(path: Path, settings: DecodeHParams) -> list[str]:
    """Return the records of a file; raise `SlipwayError` if it cannot be read or is not valid UTF-8."""
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError:
        raise not_found(f"'{path}' does not exist") from None
    except OSError as error:
        raise invalid(f"'{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        line = path.read_bytes()[: error.start].count(b"\n") + 1
        raise invalid(f"'{path}' is not valid UTF-8 (line {line})") from None
    records = [record.strip() for record in text.split(settings.delimiter)]
    if not records[-1]:
        records.pop()  # after the last delimiter
    return records if settings.num_samples < 0 else records[: settings.num_samples]


def write_records(path: Path, records: Sequence[str], settings: DecodeHParams) -> None:
    """Write the records, each followed by the delimiter, as a whole."""
    with atomic_file(path) as file:
        file.write("".join(f"{record}{settings.delimiter}" for record in records).encode(errors="replace"))


def shard_name(path: Path, settings: DecodeHParams) -> Path:
    """Return the name of this shard's file if the work is divided, else the path itself."""
    if settings.shards == 1:
        return path
    number = settings.shard_id + settings.shards_start_offset
    if settings.shard_google_format:
        return path.with_name(f"{path.name}-{number:05d}-of-{settings.shards:05d}")
    return path.with_name(f"{path.name}{number:03d}")


def output_name(path: Path, settings: DecodeHParams, *, model: str, hparams_set: str, problem: str) -> Path:
    """Return tensor2tensor's default name for the output of a file."""
    path = shard_name(path, settings)
    ending = f"beam{settings.beam_size}.alpha{settings.alpha}.decodes"
    if ending in path.name:
        return path
    return path.with_name(".".join(filter(None, (path.name, model, hparams_set, problem, ending))))


def scored_lines(path: Path, translation: Translation) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the ids, int64 [tokens], of the input and the target of each line "input TAB target"; raise INVALID_ARG
    naming the first line in another form."""
    for number, record in enumerate(read_records(path, DecodeHParams()), 1):
        parts = record.split(_TAB)
        if len(parts) != 2:
            raise invalid(f"'{path}', line {number}: expected an input, a tab and a target, got {len(parts)} parts")
        source, target = (np.array([*translation.vocabulary.encode(part.strip()), END_ID], np.int64) for part in parts)
        yield source, target


def _in_one_record(text: str, settings: DecodeHParams) -> str:
    """Return a text without what separates records, or beams."""
    text = text.replace(settings.delimiter, " ")
    return text.replace(_TAB, " ") if settings.return_beams else text
