"""tritonserver's flags without effect here: accepted with a warning, so that a start script written for it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Final

from slipway.config.flags import BOOLEAN, TEXT, Kind, flag_name, whole

_COUNT: Final = whole(0)
_NO_GPU: Final = "GPU memory is not managed here"
_NO_GPU_METRICS: Final = "GPU metrics are not collected"
_ONE_LOOP: Final = "one event loop serves all connections"
_NO_POOL: Final = "requests are not pooled"

# Flag -> the kind of its value, why it has no effect.
WITHOUT_EFFECT: Final[dict[str, tuple[Kind, str]]] = {
    "enable-peer-access": (BOOLEAN, _NO_GPU),
    "pinned-memory-pool-byte-size": (_COUNT, _NO_GPU),
    "cuda-memory-pool-byte-size": (TEXT, _NO_GPU),
    "cuda-virtual-address-size": (TEXT, _NO_GPU),
    "min-supported-compute-capability": (TEXT, _NO_GPU),
    "model-load-gpu-limit": (TEXT, _NO_GPU),
    "allow-gpu-metrics": (BOOLEAN, _NO_GPU_METRICS),
    "metrics-interval-ms": (_COUNT, "metrics are measured when they are requested"),
    "buffer-manager-thread-count": (_COUNT, "tensors are not copied by separate threads"),
    "repoagent-directory": (TEXT, "the repository agent 'checksum' is part of the server, and no other is supported"),
    "cache-directory": (TEXT, "the response caches are part of the server"),
    "http-thread-count": (_COUNT, _ONE_LOOP),
    "grpc-infer-thread-count": (_COUNT, _ONE_LOOP),
    "grpc-infer-allocation-pool-size": (_COUNT, _NO_POOL),
    "grpc-max-response-pool-size": (_COUNT, _NO_POOL),
    "sagemaker-thread-count": (_COUNT, _ONE_LOOP),
    "vertex-ai-thread-count": (_COUNT, _ONE_LOOP),
}


KINDS: Final[dict[str, Kind]] = {name: kind for name, (kind, _) in WITHOUT_EFFECT.items()}


def misread(given: Iterable[tuple[str, str]], shown: Callable[[str], str] = flag_name) -> list[str]:
    """Return one message for each given flag (name, value) that has no effect and whose value cannot be read; `shown`
    says what to call it."""
    problems = []
    for name, text in given:
        if name in WITHOUT_EFFECT:
            try:
                WITHOUT_EFFECT[name][0].read(text)
            except ValueError as error:
                problems.append(f'Bad option: "{shown(name)}". {error}')
    return problems


def warn(given: Iterable[str]) -> list[str]:
    """Return one message for each given flag that has no effect."""
    names = dict.fromkeys(name for name in given if name in WITHOUT_EFFECT)
    return [f"--{name} has no effect: {WITHOUT_EFFECT[name][1]}" for name in names]
