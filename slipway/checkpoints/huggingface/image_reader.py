"""The decoder of a `VisionEncoderDecoderModel` (TrOCR, Donut, Nougat), which attends to the encoder states of an image.

The vision encoder is another model, usually a graph, so its arrays are not read, and may be missing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Final

from slipway.checkpoints.huggingface.bart import read_bart_decoder
from slipway.checkpoints.huggingface.gpt2 import read_gpt2_decoder
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.checkpoints.huggingface.table import CheckpointMapping, StoredArrays
from slipway.errors import unsupported

MODEL_TYPE: Final = "vision-encoder-decoder"
_OF_THE_ENCODER: Final = (r"encoder\..*", r"enc_to_dec_proj\.(weight|bias)")

DECODERS: Final[dict[str, Callable[[HuggingFaceSettings, StoredArrays], CheckpointMapping]]] = {
    "bart": read_bart_decoder,
    "gpt2": read_gpt2_decoder,
    "mbart": read_bart_decoder,
    "trocr": read_bart_decoder,
}


def read_image_reader(settings: HuggingFaceSettings, stored: StoredArrays) -> CheckpointMapping:
    """Return the architecture and table of the decoder; raise UNSUPPORTED naming the supported ones for another kind.

    `encoded_size` is the size of the states after `enc_to_dec_proj`, if the checkpoint has this layer.
    """
    own = settings.of_decoder
    kind = "" if own is settings else own.model_type
    family = DECODERS.get(kind)
    if family is None:
        raise unsupported(
            f"{settings.path}: a decoder of type '{kind}' is not supported; supported decoders of images: "
            f"{', '.join(DECODERS)}"
        )
    mapping = family(own, stored)
    return replace(mapping, ignorable=(*mapping.ignorable, *_OF_THE_ENCODER))
