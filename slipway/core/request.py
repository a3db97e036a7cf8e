"""What a client asks and what it gets: values that know neither transport nor scheduler."""

from __future__ import annotations

from dataclasses import dataclass, field

from slipway.core.tensor import Tensor
from slipway.errors import SlipwayError

Parameter = str | int | float | bool

SEQUENCE_START = 1
SEQUENCE_END = 2


@dataclass(slots=True, eq=False)
class InferRequest:
    """One inference request, decoded.

    `model_version` is "" for "the latest by the version policy". `outputs` are the requested output names; empty
    means all. `timeout_us` and `priority` are 0 when not given. `parameters` are the custom ones only: a front moves
    reserved keys (sequence_*, priority, timeout, ...) to their own fields.
    """

    model_name: str
    model_version: str = ""
    id: str = ""
    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: tuple[str, ...] = ()
    parameters: dict[str, Parameter] = field(default_factory=dict)
    priority: int = 0
    timeout_us: int = 0
    correlation_id: int | str = 0
    flags: int = 0  # SEQUENCE_START | SEQUENCE_END

    @property
    def log_prefix(self) -> str:
        """Triton's prefix of request errors (`InferenceRequest::LogRequest`), with the trailing blank."""
        return f"[request id: {self.id or '<id_unknown>'}] "


@dataclass(slots=True, eq=False)
class InferResponse:
    """One answer. `error` set means there are no outputs. `final` marks the last answer to its request.

    An empty final answer (`empty` true: no outputs, no error) only closes a decoupled request.
    """

    model_name: str = ""
    model_version: str = ""
    id: str = ""
    outputs: list[Tensor] = field(default_factory=list)
    parameters: dict[str, Parameter] = field(default_factory=dict)
    error: SlipwayError | None = None
    final: bool = True
    empty: bool = False
