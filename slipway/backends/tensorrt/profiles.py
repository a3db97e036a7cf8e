"""Optimization profiles: the shapes that a TensorRT plan was built for, and the one that fits a batch.

Pure: the profiles are read once from an engine; one is chosen before every execution.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tritonclient.grpc import model_config_pb2

from slipway.errors import invalid, refused
from slipway.problems import Named, Problem, Rule

Shape = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Range:
    """The shapes that one input may have in one profile; the kernels were chosen for `optimum`."""

    minimum: Shape
    optimum: Shape
    maximum: Shape

    def holds(self, shape: Shape) -> bool:
        """Return whether `shape` fits; -1 in it is any size."""
        return len(shape) == len(self.minimum) and all(
            size == -1 or low <= size <= high for low, size, high in zip(self.minimum, shape, self.maximum, strict=True)
        )

    def distance(self, shape: Shape) -> int:
        """Return how far a shape that fits is from the optimum."""
        return sum(abs(size - best) for size, best in zip(shape, self.optimum, strict=True))


Profile = Mapping[str, Range]


def allowed_profiles(config: model_config_pb2.ModelConfig, count: int) -> tuple[int, ...]:
    """Return the numbers of the profiles that instance groups name, or all; raise INVALID_ARG for an unknown one."""
    named = [profile for group in config.instance_group for profile in group.profile]
    for profile in named:
        if not profile.isdecimal() or int(profile) >= count:
            text = (
                f"unable to load model '{config.name}', the plan does not have an optimization profile '{profile}', "
                f"only 0 to {count - 1}"
            )
            raise refused(Problem(Rule.INSTANCE_GROUP, text, ("instance_group",), "name one of the plan's profiles"))
    return tuple(sorted({int(profile) for profile in named})) or tuple(range(count))


def largest_batch(profiles: Iterable[Profile]) -> int:
    """Return the largest first dimension that any one profile accepts for all its inputs."""
    sizes = [min((each.maximum[0] for each in profile.values() if each.maximum), default=0) for profile in profiles]
    return max(sizes, default=0)


def check_profiles(config: model_config_pb2.ModelConfig, profiles: Sequence[Profile]) -> None:
    """Raise INVALID_ARG with every shape that the configuration allows and no profile accepts."""
    problems = []
    batched = config.max_batch_size > 0
    largest = largest_batch(profiles)
    if batched and config.max_batch_size > largest:
        text = (
            f"unable to load model '{config.name}', configuration specified max-batch {config.max_batch_size} but "
            f"TensorRT engine only supports max-batch {largest}"
        )
        fix = f"write max_batch_size: {largest}"
        problems.append(Problem(Rule.BATCH_AXIS_FIXED, text, ("max_batch_size",), fix))
    for declared in config.input:
        dims = tuple(declared.reshape.shape if declared.HasField("reshape") else declared.dims)
        full = (-1,) if declared.allow_ragged_batch else (-1, *dims) if batched else dims
        ranges = [profile[declared.name] for profile in profiles if declared.name in profile]
        if ranges and not any(each.holds(full) for each in ranges):
            text = (
                f"unable to load model '{config.name}', input '{declared.name}' with dims {_text(dims)} fits no "
                f"optimization profile: {_ranges(declared.name, profiles)}"
            )
            path = ("input", Named(declared.name), "dims")
            problems.append(Problem(Rule.DIMS_NOT_GRAPH, text, path, "write dims that fit one of the profiles"))
    if problems:
        raise refused(*problems, separator="\n")


def choose_profile(profiles: Mapping[int, Profile], shapes: Mapping[str, Shape], model_name: str) -> int:
    """Return the number of the profile that fits `shapes` best; raise INVALID_ARG when none does."""
    fitting = [
        (sum(profile[name].distance(shape) for name, shape in shapes.items() if name in profile), number)
        for number, profile in profiles.items()
        if all(profile[name].holds(shape) for name, shape in shapes.items() if name in profile)
    ]
    if fitting:
        return min(fitting)[1]
    given = ", ".join(f"'{name}' {_text(shape)}" for name, shape in shapes.items())
    taken = "; ".join(_ranges(name, list(profiles.values())) for name in shapes)
    raise invalid(f"model '{model_name}': the input shapes {given} fit no optimization profile: {taken}")


def _ranges(name: str, profiles: Sequence[Profile]) -> str:
    ranges = [profile[name] for profile in profiles if name in profile]
    return f"'{name}' " + " or ".join(f"{_text(each.minimum)} to {_text(each.maximum)}" for each in ranges)


def _text(shape: Shape) -> str:
    return "[" + ",".join(map(str, shape)) + "]"
