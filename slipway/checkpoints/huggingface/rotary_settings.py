"""Rotary positions as config.json describes them: `rope_theta`, `rope_scaling`, and `rope_parameters`, their successor.

`rope_parameters` may have one set of settings for each kind of layer (Gemma 3). All settings are a closed world: an
unknown type or name is refused. Factors that a configuration leaves to a formula are computed here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log, sqrt
from typing import Any, Final

from slipway.checkpoints.huggingface.consulted import Consulted, refuse_unknown
from slipway.checkpoints.huggingface.settings import HuggingFaceSettings
from slipway.errors import invalid, shown
from slipway.nearest import nearest_or_all
from slipway.transformer.spec import Rotary, RotaryScaling

FULL: Final = "full_attention"
SLIDING: Final = "sliding_attention"
_MOST_FACTORS: Final = 4096
_LONGEST: Final = 1 << 31


@dataclass(frozen=True, slots=True)
class RotaryRule:
    """How a family's settings describe its rotary positions.

    `base` and `share` name the settings of the base and of the share of a head that is rotated, with their defaults.
    `size` names a setting that is the number of rotated elements itself (GPT-J). `local_base` is the base of layers
    with a window, if theirs differs. `interleaved` pairs neighbours. `aliases` are types of scaling that this family
    calls by other names. With `extends`, linear scaling makes the context longer than `max_position_embeddings` says.
    """

    base: tuple[str, float] = ("rope_theta", 10_000.0)
    share: tuple[str, float] = ("partial_rotary_factor", 1.0)
    size: str = ""
    local_base: tuple[str, float] | None = None
    interleaved: bool = False
    aliases: tuple[tuple[str, str], ...] = ()
    extends: bool = True


PLAIN_ROTARY: Final = RotaryRule()


@dataclass(frozen=True, slots=True)
class RotarySettings:
    """The rotary positions of a decoder, and the longest sequence that they are made for (0: unknown)."""

    rotary: Rotary
    local: Rotary | None
    context: int


def read_rotary(settings: HuggingFaceSettings, rule: RotaryRule, head_size: int, context: int) -> RotarySettings:
    """Return the rotary positions of heads with `head_size` numbers in a model made for `context` tokens (0: unknown).

    Raise INVALID_ARG naming every unknown setting, or one of the wrong type.
    """
    own, local = _objects(settings, rule)
    rotary = _Reader(settings, own, rule, head_size, context).rotary(*rule.base)
    within = None
    if rule.local_base is not None:
        within = _Reader(settings, local, rule, head_size, context).rotary(*rule.local_base)
    return RotarySettings(rotary, None if within == rotary else within, _context(rotary, rule, context))


def _context(rotary: Rotary, rule: RotaryRule, context: int) -> int:
    """Return the longest sequence: some configurations only give the length before it is extended."""
    if rotary.scaling is RotaryScaling.YARN:
        return max(context, int(min(rotary.original_length * rotary.factor, _LONGEST)))
    if rule.extends and rotary.scaling in (RotaryScaling.LINEAR, RotaryScaling.DYNAMIC):
        return int(min(context * rotary.factor, _LONGEST))
    return context


def _objects(settings: HuggingFaceSettings, rule: RotaryRule) -> tuple[HuggingFaceSettings, HuggingFaceSettings]:
    """Return the settings of the layers without and with a window."""
    scaling, parameters = _object(settings, "rope_scaling"), _object(settings, "rope_parameters")
    nested = {name for name in parameters.config if name in (FULL, SLIDING)}
    if nested and rule.local_base is not None:
        for name in parameters.config:
            if name not in nested:
                raise invalid(f"{parameters.path}: '{shown(name)}' is unknown{nearest_or_all(name, (FULL, SLIDING))}")
        full = _object(parameters, FULL)
        return (scaling if scaling.config else full), _object(parameters, SLIDING)
    # Only the layers without a window are scaled (Gemma 3).
    return (scaling if scaling.config else parameters), settings.inner("rope_parameters", {})


def _object(settings: HuggingFaceSettings, name: str) -> HuggingFaceSettings:
    value = settings.config.get(name)
    if value is not None and not isinstance(value, Mapping):
        raise invalid(f"{settings.path}: '{name}' is {shown(repr(value))}, expected an object")
    return settings.inner(name, value or {})


class _Reader:
    """One set of rotary settings; what it does not set, config.json may."""

    def __init__(
        self, outer: HuggingFaceSettings, own: HuggingFaceSettings, rule: RotaryRule, head_size: int, context: int
    ) -> None:
        self._outer, self._own, self._rule, self._head_size = outer, own, rule, head_size
        self._context = context

    def rotary(self, base: str, default: float) -> Rotary:
        """Return the rotary positions whose base config.json calls `base`."""
        kind = self._kind()
        values: dict[str, Any] = {
            "size": self._size(),
            "base": self._own.positive("rope_theta", self._outer.positive(base, default)),
            "interleaved": self._rule.interleaved,
            "scaling": kind,
        }
        values |= _KINDS[kind](self)
        refuse_unknown(Consulted.of(self._own.config), str(self._own.path))
        return Rotary(**values)

    def _size(self) -> int:
        if self._rule.size:
            return self._outer.sizes(self._rule.size)[0]
        share = self._own.number("partial_rotary_factor", self._outer.number(*self._rule.share))
        return int(self._head_size * share)

    def _kind(self) -> RotaryScaling:
        older = self._own.config.get("type")
        name = self._own.config.get("rope_type")
        name = (older if name is None else name) or "default"
        name = dict(self._rule.aliases).get(name, name) if isinstance(name, str) else name
        known = {"default": RotaryScaling.NONE} | {each.value: each for each in RotaryScaling}
        del known["none"]
        if not isinstance(name, str) or name not in known:
            text = nearest_or_all(str(name), known)
            raise invalid(f"{self._own.path}: rotary scaling '{shown(name)}' is unknown{text}")
        return known[name]

    def plain(self) -> dict[str, Any]:
        """Return nothing: positions are not scaled. Some files still say by how much they would be."""
        for name in ("factor", "original_max_position_embeddings", "attention_factor"):
            self._own.config.get(name)
        return {}

    def linear(self) -> dict[str, Any]:
        """Return the divisor of all positions."""
        return {"factor": self._factor()}

    def dynamic(self) -> dict[str, Any]:
        """Return the factor, and the length from which the base grows: `max_position_embeddings`."""
        self._own.config.get("original_max_position_embeddings")
        return {"factor": self._factor(), "original_length": self._context}

    def llama3(self) -> dict[str, Any]:
        """Return the factor and the two bounds between which it takes effect."""
        bounds = {"low_frequency_factor": "low_freq_factor", "high_frequency_factor": "high_freq_factor"}
        values = {field: self._own.positive(name, None) for field, name in bounds.items()}
        return values | {"factor": self._factor(), "original_length": self._original()}

    def yarn(self) -> dict[str, Any]:
        """Return the factor, the bounds in rotations, and the attention factor (Peng et al. 2023, eq. 22)."""
        original = self._original()
        factor = self._factor(self._context / original)
        own = self._own
        scale, of_all = own.number("mscale", 0.0), own.number("mscale_all_dim", 0.0)
        usual = _yarn_magnitude(factor, 1.0)
        if scale and of_all:
            usual = _yarn_magnitude(factor, scale) / (_yarn_magnitude(factor, of_all) or 1.0)
        return {
            "factor": factor,
            "original_length": original,
            "magnitude": own.number("attention_factor", usual),
            "beta_fast": own.positive("beta_fast", 32.0),
            "beta_slow": own.positive("beta_slow", 1.0),
            "truncate": own.flag("truncate", default=True),
        }

    def longrope(self) -> dict[str, Any]:
        """Return the two tables of divisors and the attention factor (Ding et al. 2024, section 3.3)."""
        original = self._original()
        factor = self._factor(self._context / original)
        usual = 1.0 if factor <= 1.0 else sqrt(1.0 + log(factor) / log(original)) if original > 1 else 0.0
        if not usual:
            raise invalid(f"{self._own.path}: 'original_max_position_embeddings' is 1, expected a larger number")
        return {
            "original_length": original,
            "magnitude": self._own.number("attention_factor", usual),
            "short_factors": self._factors("short_factor"),
            "long_factors": self._factors("long_factor"),
        }

    def _factor(self, default: float | None = None) -> float:
        return self._own.positive("factor", default)

    def _original(self) -> int:
        """Return the original length; Phi-3 sets it beside the object, and that value counts."""
        name = "original_max_position_embeddings"
        inner = self._own.size(name, self._context)
        original = self._outer.size(name, inner)
        if original < 1:
            raise invalid(f"{self._own.path}: '{name}' is missing")
        return original

    def _factors(self, name: str) -> tuple[float, ...]:
        values = self._own.config.get(name)
        if not isinstance(values, list) or len(values) > _MOST_FACTORS:
            raise invalid(f"{self._own.path}: '{name}' is {shown(repr(values))}, expected a list of numbers")
        return tuple(self._own.inner(name, {"factor": value}).positive("factor", None) for value in values)


def _yarn_magnitude(factor: float, scale: float) -> float:
    return 1.0 if factor <= 1.0 else 0.1 * scale * log(factor) + 1.0


_KINDS: Final[Mapping[RotaryScaling, Callable[[_Reader], dict[str, Any]]]] = {
    RotaryScaling.NONE: _Reader.plain,
    RotaryScaling.LINEAR: _Reader.linear,
    RotaryScaling.DYNAMIC: _Reader.dynamic,
    RotaryScaling.LLAMA3: _Reader.llama3,
    RotaryScaling.YARN: _Reader.yarn,
    RotaryScaling.LONGROPE: _Reader.longrope,
}
