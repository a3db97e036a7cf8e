"""What the rate limiter is given: the counts on the command line, and the needs of an instance group.

Pure. Source: Triton `docs/user_guide/rate_limiter.md`, and tritonserver's answers: of two `--rate-limit-resource` for
the same resource the smaller count holds, of a resource that is listed twice in one group the last one, and priority 0
is priority 1.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from slipway.config.flags import Kind, whole
from slipway.problems import FieldPath, Problem, Rule

if TYPE_CHECKING:  # the help and a mistaken flag need neither protobuf nor numpy
    from tritonclient.grpc import model_config_pb2

OFF: Final = "off"
EXECUTION_COUNT: Final = "execution_count"
NOT_LIMITED: Final = f"rate_limiter has no effect without --rate-limit={EXECUTION_COUNT}"

_FORMAT: Final = (
    "--rate-limit-resource option format is '<resource_name>:<count>:<device>' or '<resource_name>:<count>'. Got "
)
_NUMBER: Final = whole(0, 2**31 - 1)


@dataclass(frozen=True, slots=True)
class ResourceCount:
    """How many of a resource the command line grants: on one device, or on each (None)."""

    name: str
    count: int
    device: int | None = None


@dataclass(frozen=True, slots=True)
class ResourceKey:
    """A resource: one for the whole server (`device` None), or the one of a device."""

    name: str
    device: int | None = None

    @property
    def rank(self) -> tuple[int, str]:
        """The order in which tritonserver looks at resources: the global ones first, then by device and name."""
        return (-1 if self.device is None else self.device, self.name)

    def __str__(self) -> str:
        return f"{self.name} ({'global' if self.device is None else f'device {self.device}'})"


@dataclass(frozen=True, slots=True)
class Claim:
    """What one instance needs to execute, and its priority: with 2 it runs half as often as with 1."""

    needs: tuple[tuple[ResourceKey, int], ...] = ()
    priority: int = 1
    taken: tuple[tuple[ResourceKey, int], ...] = field(init=False)  # the needs that are not zero

    def __post_init__(self) -> None:
        object.__setattr__(self, "taken", tuple((key, count) for key, count in self.needs if count))


def _read_mode(text: str) -> str:
    mode = text.lower()
    if mode not in (OFF, EXECUTION_COUNT):
        raise ValueError(f"invalid argument for --rate-limit; expected {OFF} or {EXECUTION_COUNT}. Got {text}")
    return mode


def _read_resource(text: str) -> ResourceCount:
    name, *numbers = text.split(":")
    if len(numbers) not in (1, 2):
        raise ValueError(_FORMAT + text)
    return ResourceCount(name, *(_NUMBER.read(number) for number in numbers))


MODE: Final = Kind(f"{OFF}|{EXECUTION_COUNT}", _read_mode)
RESOURCE: Final = Kind("NAME:COUNT[:DEVICE]", _read_resource)


def claim_of(group: model_config_pb2.ModelInstanceGroup, device: int) -> Claim:
    """Return what an instance of `group` on `device` needs."""
    needs = {
        ResourceKey(resource.name, None if is_global(resource) else device): resource.count
        for resource in group.rate_limiter.resources
    }
    return Claim(tuple(needs.items()), max(1, group.rate_limiter.priority))


def is_limited(config: model_config_pb2.ModelConfig) -> bool:
    """Return whether the rate limiter has anything to decide for the model's instances."""
    limiters = [group.rate_limiter for group in config.instance_group if not group.passive]
    return any(limiter.resources or limiter.priority > 1 for limiter in limiters)


def rate_limiter_problems(config: model_config_pb2.ModelConfig) -> Iterator[Problem]:
    """Yield the resources that a load with the rate limiter refuses, and those without effect."""
    scopes: dict[str, bool] = {}
    for index, group in enumerate(config.instance_group):
        counts = [(each.name, is_global(each), each.count) for each in group.rate_limiter.resources]
        last = {name: at for at, (name, _, _) in enumerate(counts)}
        for at, (name, scope, count) in enumerate(counts):
            path = ("instance_group", index, "rate_limiter", "resources", at)
            if scopes.setdefault(name, scope) != scope:
                yield mixed_scopes(name, path)
            elif at != last[name]:
                text = f"resource '{name}' is listed twice; its last count, {counts[last[name]][2]}, is used"
                yield Problem(Rule.WITHOUT_EFFECT, text, path, "remove it")
            elif not count:
                text = f"resource '{name}' has no effect: its count is 0"
                yield Problem(Rule.WITHOUT_EFFECT, text, path, "set the count that an execution needs")


def mixed_scopes(name: str, path: FieldPath) -> Problem:
    """Return the problem of a resource at `path` that is global only in some places; the text is Triton's."""
    text = f'Resource "{name}" is present as both global and device-specific resource in the model configuration.'
    return Problem(Rule.RATE_LIMITER, text, path, "set global wherever the resource is listed, or nowhere")


def is_global(resource: model_config_pb2.ModelRateLimiter.Resource) -> bool:
    """Return whether there is one of the resource for all devices; the field's name is a word of Python."""
    return bool(getattr(resource, "global"))
