"""Read a Hugging Face directory: one row per model type; the families' modules do the rest.

Never imports transformers. Weights are mapped and read one at a time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from slipway.checkpoints.checkpoint import Checkpoint
from slipway.checkpoints.huggingface.bart import read_bart
from slipway.checkpoints.huggingface.decoder import read_decoder
from slipway.checkpoints.huggingface.decoder_families import DECODER_FAMILIES
from slipway.checkpoints.huggingface.encoders import read_bert, read_vit
from slipway.checkpoints.huggingface.gpt2 import read_gpt2
from slipway.checkpoints.huggingface.image_reader import MODEL_TYPE, read_image_reader
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings, read_settings
from slipway.checkpoints.huggingface.t5 import read_t5
from slipway.checkpoints.huggingface.table import CheckpointMapping, StoredArrays, assemble
from slipway.checkpoints.huggingface.weight_files import open_weight_files
from slipway.errors import unsupported

FAMILIES: Final[dict[str, Callable[[HuggingFaceSettings, StoredArrays], CheckpointMapping]]] = {
    "bart": read_bart,
    "bert": read_bert,
    "blenderbot": read_bart,
    "gpt2": read_gpt2,
    "m2m_100": read_bart,
    "marian": read_bart,
    "mbart": read_bart,
    "mt5": read_t5,
    "pegasus": read_bart,
    "t5": read_t5,
    "umt5": read_t5,
    "vit": read_vit,
    MODEL_TYPE: read_image_reader,
    **dict.fromkeys(DECODER_FAMILIES, read_decoder),
}


@dataclass(frozen=True, slots=True)
class HuggingFaceCheckpoint(Checkpoint):
    """A checkpoint with further settings: padding, and all ids that end a text."""

    model_type: str
    padding_id: int | None
    end_ids: tuple[int, ...]  # all ids that end a text; `spec.end_id` is the first
    ignored_settings: tuple[str, ...] = ()  # settings of config.json that are unknown, and without effect


def read_huggingface(directory: Path) -> HuggingFaceCheckpoint:
    """Return the checkpoint in `directory` without reading its arrays.

    Raise UNSUPPORTED for an architecture without a row here, INVALID_ARG if files are missing or damaged, or if the
    arrays are not exactly those that config.json describes (all differences are named at once).
    """
    settings = read_settings(directory)
    family = FAMILIES.get(settings.model_type)
    if family is None:
        raise unsupported(
            f"'{directory}': architecture '{settings.architecture}' (model_type '{settings.model_type}') is not "
            f"supported; supported model types: {', '.join(FAMILIES)}"
        )
    stored = open_weight_files(directory)
    draft = family(settings, stored)
    generating = settings.of_decoder
    padding = generating.token_ids("pad_token_id")
    return HuggingFaceCheckpoint(
        source=str(directory),
        spec=draft.spec,
        weights=assemble(draft, stored, f"'{directory}'"),
        model_type=settings.model_type,
        padding_id=padding[0] if padding else None,
        end_ids=generating.token_ids("eos_token_id"),
        ignored_settings=draft.ignored,
    )
