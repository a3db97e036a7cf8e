"""What an operator should know about `--allow-client-shm`. Knows no regions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping


def shared_memory_warnings(*, allowed: bool, open_to_others: Mapping[str, str]) -> Iterator[str]:
    """Yield a warning for each front, with its address, that clients on other machines reach."""
    for name, address in open_to_others.items():
        if allowed:
            yield (
                f"--allow-client-shm with --{name}-address={address}: clients on other machines can read and write all "
                "shared memory that this server may open"
            )
