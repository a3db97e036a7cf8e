"""The model directory for a LightSeq file: config.pbtxt, the file next to it, and the empty `1/` that it needs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from slipway.checkpoints.lightseq.conf import LightSeqConf
from slipway.errors import invalid

_MAX_BATCH_SIZE: Final = 8
_STATES: Final = (("encoder_output", "TYPE_FP32", "-1, -1"),)
_INTERFACES: Final = {
    "Bert": (("token_ids", "TYPE_INT32", "-1"), _STATES),
    "Vit": (("pixel_values", "TYPE_FP32", "-1, -1, -1"), _STATES),
    "Gpt": (("token_ids", "TYPE_INT32", "-1"), (("result", "TYPE_INT32", "-1"),)),
}
_TRANSLATION: Final = (
    ("source_ids", "TYPE_INT32", "-1"),
    (("target_ids", "TYPE_INT32", "-1, -1"), ("target_scores", "TYPE_FP32", "-1")),
)
_SCORED: Final = (("result", "TYPE_FP32", "1"),)  # ppl


def make_entry(repository: Path, name: str) -> Path:
    """Make the directories of a model called `name` and return the model's; raise INVALID_ARG if it already exists."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9._-]*", name):
        raise invalid(f"'{name}' is not a valid model name; use letters, digits, '_', '-' and '.'")
    entry = repository / name
    if entry.exists():
        raise invalid(f"'{entry}' already exists; remove it or choose another name")
    (entry / "1").mkdir(parents=True)
    return entry


def write_config(entry: Path, file: str, conf: LightSeqConf) -> None:
    """Write config.pbtxt for the model whose `file` is in `entry`; the outputs are declared correctly."""
    source, outputs = _INTERFACES.get(conf.base_type, _TRANSLATION)
    if conf.sampling_method == "ppl":
        outputs = _SCORED
    text = "\n".join(
        [
            f'name: "{entry.name}"',
            'backend: "lightseq"',
            f"max_batch_size: {_MAX_BATCH_SIZE}",
            f"input [ {_tensor(*source)} ]",
            "output [",
            ",\n".join(f"  {_tensor(*output)}" for output in outputs),
            "]",
            "instance_group [ { count: 1 kind: KIND_CPU } ]",
            f'default_model_filename: "{file}"',
            f'parameters [ {{ key: "model_type" value: {{ string_value: "{conf.model_type}" }} }} ]',
        ]
    )
    (entry / "config.pbtxt").write_text(text + "\n")


def _tensor(name: str, datatype: str, dims: str) -> str:
    return f'{{ name: "{name}" data_type: {datatype} dims: [ {dims} ] }}'
