"""`t2t-decoder`: translate a file, or what is typed, or score translations, without a server."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np

from slipway.checkpoints.tensor2tensor.export import TrainedModel
from slipway.checkpoints.tensor2tensor.location import find_checkpoint
from slipway.cli.progress import progress
from slipway.cli.tensor2tensor.file_decoding import (
    decode_records,
    output_name,
    output_record,
    read_records,
    scored_lines,
    shard_name,
    write_records,
)
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.cli.tensor2tensor.trained import IGNORED, PATH, ModelFlags, open_named
from slipway.config.flags import BOOLEAN, TEXT, choice, whole
from slipway.errors import invalid
from slipway.runtime.translation import EMPTY, Translation
from slipway.transformer.engines import open_engine
from slipway.transformer.generation import SequenceRequest, TransformerEngine, collect
from slipway.transformer.options import COMPUTE_TYPES, EngineOptions

_QUIT: Final = "q"


@dataclass(frozen=True, slots=True)
class DecoderFlags(ModelFlags):
    """The flags of `t2t-decoder`."""

    decode_from_file: Path | None = flag(None, PATH, "file with one text per line", section="Decoding")
    decode_to_file: Path | None = flag(
        None, PATH, "file for one translation per line (default: the input's name and the settings)", section="Decoding"
    )
    decode_interactive: bool = flag(False, BOOLEAN, "translate lines from standard input", section="Decoding")
    score_file: Path | None = flag(
        None,
        PATH,
        'file with lines "input TAB target": write the mean negative log-probability of each target\'s tokens',
        section="Decoding",
    )
    decode_shards: int = flag(1, whole(1, 100_000), "number of files that the input is cut into", section="Decoding")
    worker_id: int = flag(0, whole(0, 100_000), "number of the file to decode", section="Decoding")
    keep_timestamp: bool = flag(False, BOOLEAN, "give the output the checkpoint's time", section="Decoding")
    compute_type: str = flag("float32", choice(*COMPUTE_TYPES), "number type", section="Computing")
    device: str = flag("cpu", TEXT, "cpu, cuda or cuda:N", section="Computing")
    threads: int = flag(0, whole(0, 4096), "threads; 0 is the engine's choice", section="Computing")


COMMAND: Final = AbslCommand(
    "t2t-decoder",
    "Translate a file or what is typed with a trained model or an export, or score translations.",
    DecoderFlags,
    ignored={**IGNORED, "decode_in_memory": "files are always decoded in memory"},
)


@dataclass(frozen=True, slots=True)
class _Done:
    """How many records are translated, as a step to show."""

    count: int
    total: int

    def after(self, seconds: float) -> _Done:  # noqa: ARG002
        return self

    def __str__(self) -> str:
        return f"translated {self.count} of {self.total}"


def run(arguments: Sequence[str]) -> int:
    """Decode or score; print where the results are; return 0."""
    flags = read_flags(COMMAND, arguments)
    asked = [flags.decode_from_file is not None, flags.score_file is not None, flags.decode_interactive]
    if sum(asked) != 1:
        raise invalid("specify one of --decode_from_file, --score_file and --decode_interactive")
    model = open_named(flags)
    settings = model.settings
    if flags.decode_shards > 1 or flags.worker_id:  # else those of --decode_hparams count
        settings = replace(settings, shards=flags.decode_shards, shard_id=flags.worker_id)
    translation = Translation(model.checkpoint.spec, model.vocabulary, settings)
    if flags.score_file is not None:
        _score(flags, flags.score_file, model, translation)
    elif flags.decode_from_file is not None:
        _decode_file(flags, flags.decode_from_file, model, translation)
    else:
        _decode_typed(flags, model, translation)
    return 0


def _decode_file(flags: DecoderFlags, source: Path, model: TrainedModel, translation: Translation) -> None:
    settings = translation.settings
    target = output_name(
        source,
        settings,
        model=flags.model,
        hparams_set=flags.hparams_set.partition("=")[0] or str(model.facts.get("hparams_set", "")),
        problem=flags.problem or str(model.facts.get("problem", "")),
    )
    if flags.decode_to_file is not None:
        target = shard_name(flags.decode_to_file, settings)
    records = read_records(shard_name(source, settings), settings)
    with _engine(flags, model, translation) as engine, progress(sys.stderr) as show:
        found = decode_records(records, translation, engine, lambda count: show(_Done(count, len(records))))
    write_records(target, found, settings)
    if flags.keep_timestamp:
        seconds = find_checkpoint(model.path).weights.stat().st_mtime
        os.utime(target, (seconds, seconds))
    print(f"translated {len(records)} lines to {target}")


def _decode_typed(flags: DecoderFlags, model: TrainedModel, translation: Translation) -> None:
    """Translate each line until the end of the input, or "q"."""
    shown = sys.stdin.isatty()
    with _engine(flags, model, translation) as engine:
        while True:
            if shown:
                print("> ", end="", flush=True)
            line = sys.stdin.readline()
            if not line or line.strip() == _QUIT:
                return
            ids = translation.encode(line)
            found = [EMPTY] if ids is None else collect(engine, [translation.row(ids)])[0]
            print(output_record(translation, found), flush=True)


def _score(flags: DecoderFlags, source: Path, model: TrainedModel, translation: Translation) -> None:
    if flags.decode_to_file is None:
        raise invalid("--score_file needs --decode_to_file for the scores")
    pairs = list(scored_lines(source, translation))
    import torch

    from slipway.train.network.network import TrainingNetwork
    from slipway.train.network.parameters import stored_parameters

    size = model.vocabulary.vocabulary_size
    network = TrainingNetwork(model.hparams, size, stored_parameters(model.path, model.hparams, size)).eval()
    scores = []
    for ids, target in pairs:
        loss = network.evaluate(torch.from_numpy(ids)[None], torch.from_numpy(target)[None])
        scores.append(f"{loss.nats / len(target):.6f}")
    write_records(flags.decode_to_file, scores, replace(translation.settings, delimiter="\n"))
    print(f"scored {len(scores)} lines to {flags.decode_to_file}")


@contextmanager
def _engine(flags: DecoderFlags, model: TrainedModel, translation: Translation) -> Iterator[TransformerEngine]:
    options = EngineOptions(compute_type=flags.compute_type, device=flags.device, threads=flags.threads)
    typical = SequenceRequest(np.ones(1, np.int64), translation.decoding(1, translation.settings))
    checkpoint = model.checkpoint
    engine = open_engine(checkpoint.spec, checkpoint.weights, options, name=str(model.path), typical=typical)
    try:
        yield engine
    finally:
        engine.close()
