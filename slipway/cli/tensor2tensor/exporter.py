"""`t2t-exporter`: a trained model with its vocabulary and decoding settings, as one directory to serve."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from slipway.checkpoints.tensor2tensor.export import TrainedModel, write_export
from slipway.cli.interruption import raise_on_sigterm
from slipway.cli.tensor2tensor.flags import AbslCommand, flag, read_flags
from slipway.cli.tensor2tensor.trained import IGNORED, ModelFlags, open_named
from slipway.config.flags import BOOLEAN, DIRECTORY
from slipway.errors import SlipwayError, invalid, unavailable, unsupported


@dataclass(frozen=True, slots=True)
class ExporterFlags(ModelFlags):
    """The flags of `t2t-exporter`."""

    export_dir: Path | None = flag(None, DIRECTORY, "directory of the exports (default: export in --output_dir)")
    export_as_tfhub: bool = flag(False, BOOLEAN, "not supported: exports are not modules of TensorFlow Hub")


COMMAND: Final = AbslCommand(
    "t2t-exporter",
    "Write a trained model with its vocabulary and decoding settings to EXPORT_DIR/<unix time>, to compile and serve.",
    ExporterFlags,
    required=("problem", "output_dir"),
    ignored={**IGNORED, "as_text": "an export has no graph"},
)


def run(arguments: Sequence[str]) -> int:
    """Export; print the directory and the next command; return 0."""
    flags = read_flags(COMMAND, arguments)
    if flags.export_as_tfhub:
        raise unsupported("--export_as_tfhub: exports are not modules of TensorFlow Hub")
    if flags.output_dir is None:
        raise invalid("--output_dir is empty")
    raise_on_sigterm()  # what was begun is removed, as on Ctrl-C
    model = open_named(flags)
    created = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    export_dir = flags.export_dir or flags.output_dir / "export"
    directory = _export(export_dir, replace(model, facts={**model.facts, "created": created}))
    print(f"exported step {model.checkpoint.step} to {directory}")
    print(f"next: tritonc --model_name=transformer --savedmodel_directory={export_dir}/export/Servo/1")
    return 0


def _export(export_dir: Path, model: TrainedModel) -> Path:
    """Write the next export in `export_dir`, whole or not at all."""
    stamp = int(time.time())
    while (export_dir / str(stamp)).exists():
        stamp += 1
    directory = export_dir / str(stamp)
    incomplete = directory.with_name(f".{stamp}.incomplete")
    try:
        write_export(incomplete, model)
        incomplete.rename(directory)
    except (SlipwayError, KeyboardInterrupt):
        shutil.rmtree(incomplete, ignore_errors=True)
        raise
    except OSError as error:
        shutil.rmtree(incomplete, ignore_errors=True)
        raise unavailable(f"cannot write the export '{directory}': {error.strerror}") from error
    return directory
