"""The checksum of TensorFlow's files: CRC-32C (Castagnoli), and the masked form in which it is stored."""

from __future__ import annotations

import numpy as np

from slipway.errors import unavailable
from slipway.installation import install_hint

_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h


def crc32c(data: bytes | np.ndarray) -> int:
    """Return the checksum of bytes, or of a read-only uint8 array such as a view of a mapped file.

    Raise UNAVAILABLE if google-crc32c is not installed.
    """
    try:
        from google_crc32c import value
    except ImportError:
        raise unavailable(
            f"TensorFlow's files have checksums that need google-crc32c: {install_hint('train')}"
        ) from None
    return int(value(data))


def masked_crc32c(data: bytes | np.ndarray) -> int:
    """Return the checksum as TensorFlow stores it."""
    return mask(crc32c(data))


def mask(crc: int) -> int:
    """Return the masked form of a checksum: rotated right by 15 bits, plus a constant."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF
