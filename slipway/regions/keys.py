"""The names and keys of shared memory regions, checked before anything is opened. Pure.

The texts are tritonserver's (`src/common.cc`, `src/shared_memory_manager.cc`). Keys follow glibc's `shm_open`: leading
slashes do not count, and the rest is the name of one file.
"""

from __future__ import annotations

from typing import Final

from slipway.errors import SlipwayError, internal, invalid, shown

MAX_NAME: Final = 256  # characters
_MAX_FILE_NAME: Final = 255  # bytes (NAME_MAX)
_RESERVED: Final = "triton_python_backend_shm_region_"  # Triton's own regions, which its clients must not reach


def file_name(name: str, key: str) -> str:
    """Return the file that `key` stands for in the directory of all regions; raise `SlipwayError` if a client may not
    use the key, or the name for its region."""
    if len(name) > MAX_NAME:
        raise invalid(f"the name of a shared memory region may have at most {MAX_NAME} characters: '{shown(name)}'")
    bare = key.lstrip("/")
    if not bare:
        raise invalid(f"cannot register shared memory region '{name}' - invalid shm key '{shown(key)}'")
    if bare.startswith(_RESERVED):
        raise invalid(
            f"cannot register shared memory region '{name}' with key '{shown(key)}' as the key contains the reserved "
            f"prefix '{_RESERVED}'"
        )
    # A longer key may have that many leading slashes, and is kept for the status.
    if "/" in bare or "\0" in bare or bare in (".", "..") or len(key.encode(errors="replace")) > _MAX_FILE_NAME:
        raise cannot_open(key)
    return bare


def cannot_open(key: str) -> SlipwayError:
    """Return the error for a key that names no shared memory which the server may use; it does not say why."""
    return internal(f"Unable to open shared memory region: '{shown(key)}'")
