"""Find what is not converted in a directory: heads of other libraries, adapters, unused arrays.

Each is refused if the converted model would differ without it, and noted if it changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from slipway.convert.directory import Task
from slipway.errors import invalid

_SETFIT: Final = ("model_head.pkl", "config_setfit.json")
_ADAPTER: Final = "adapter_config.json"
_BARE: Final = (Task.EMBEDDING, Task.HIDDEN_STATES)
# Arrays of heads, by the first part of their names. A task's network may leave these out.
_HEADS: Final = (
    "classifier", "classification_head", "cls", "decoder", "discriminator_predictions", "dropout", "final_logits_bias",
    "generator_lm_head", "generator_predictions", "head", "lm_head", "lm_predictions", "mask_predictions",
    "pooler", "pre_classifier", "predictions", "projector", "qa_outputs", "score", "sop_classifier",
    "vocab_layer_norm", "vocab_projector", "vocab_transform",
)  # fmt: skip
_BUFFERS: Final = ("position_ids", "token_type_ids", "rotary_emb.inv_freq", "attention.self.distance_embedding_ids")


def check_foreign_files(directory: Path, asked: Task | None) -> list[str]:
    """Raise `SlipwayError` for a SetFit model or a PEFT adapter; return notes on what the task leaves out."""
    if (directory / _ADAPTER).exists():
        raise invalid(
            f"'{directory}' holds a PEFT adapter ({_ADAPTER}): merge it into its base model first, with peft's "
            f"merge_and_unload(), and convert the result"
        )
    setfit = next((name for name in _SETFIT if (directory / name).exists()), None)
    if setfit is None:
        return []
    if asked not in _BARE:
        raise invalid(
            f"'{directory}' is a SetFit model ({setfit}): its labels come from a scikit-learn classifier in a pickle, "
            f"which is not loaded; --task embedding converts the encoder, whose vectors are that classifier's input"
        )
    return [f"SetFit's classifier ({setfit}) is left out: the model returns the vectors that are its input"]


def check_arrays(unexpected: Sequence[str], network: Any, task: Task, directory: Path, *, bare: bool) -> list[str]:
    """Return a note on the arrays of heads that the task does not use; raise `SlipwayError` for any other unused
    array, such as an extra layer. `bare`: the user chose the task that leaves the head out."""
    prefix = f"{network.base_model_prefix}."
    inner = {name.partition(".")[0] for name, _ in _base(network).named_children()}
    spare: list[str] = []
    heads: list[str] = []
    for name in sorted(unexpected):
        if name.endswith(_BUFFERS):
            continue
        own = name.removeprefix(prefix)
        first = own.partition(".")[0]
        of_encoder = name.startswith(prefix) or first in inner
        known = own.startswith("pooler.") or (not of_encoder and (first in _HEADS or bare))
        (heads if known else spare).append(name)
    if spare:
        raise invalid(
            f"the checkpoint in '{directory}' has {len(spare)} arrays that are not used, first '{spare[0]}': "
            f"config.json describes a smaller or a different network"
        )
    what = "hidden states" if task is Task.HIDDEN_STATES else task.value
    words = sorted({name.partition(".")[0] for name in heads})
    return [f"the checkpoint's {', '.join(words)} ({len(heads)} arrays) is not used for {what}"] if heads else []


def _base(network: Any) -> Any:
    return getattr(network, network.base_model_prefix, network)


def check_vocabulary(tokenizer: Any, rows: int, directory: Path) -> None:
    """Raise `SlipwayError` if the tokenizer has ids beyond the network's token embeddings."""
    token, largest = max(tokenizer.get_vocab().items(), key=lambda each: int(each[1]))
    if largest >= rows:
        raise invalid(
            f"the tokenizer of '{directory}' has ids up to {largest} ({token!r}), but the network has {rows} tokens: "
            f"they come from different checkpoints, or tokens were added without resizing the network"
        )
