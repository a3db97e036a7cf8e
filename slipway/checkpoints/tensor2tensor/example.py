"""tf.train.Example: the named lists of integers that a record of tensor2tensor's data, or a request, consists of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from slipway.checkpoints.tensor2tensor.messages import new_message, parse_message
from slipway.errors import SlipwayError, invalid, shown


def encode_example(features: Mapping[str, Sequence[int]]) -> bytes:
    """Return the bytes of an example with these int64 features, ordered by name so that equal ones have equal bytes."""
    entries = [new_message("NamedFeature", key=name, value=_feature(name, features[name])) for name in sorted(features)]
    example = new_message("Example", features=new_message("Features", feature=entries))
    data: bytes = example.SerializeToString()
    return data


def decode_example(data: bytes) -> dict[str, list[int]]:
    """Return the features of an example by name.

    Raise INVALID_ARG for bytes that are not an example, and for a feature that does not hold integers.
    """
    try:
        example = parse_message("Example", data)
    except SlipwayError as error:
        raise invalid(f"a serialized tf.train.Example is expected: {error.message}") from None
    return {entry.key: _integers(entry.key, entry.value) for entry in example.features.feature}


def _feature(name: str, values: Sequence[int]) -> object:
    try:
        return new_message("Feature", int64_list=new_message("Int64List", value=values))
    except (TypeError, ValueError) as error:
        raise invalid(f"feature '{shown(name)}' does not consist of 64-bit integers: {error}") from None


def _integers(name: str, feature: object) -> list[int]:
    kind = feature.WhichOneof("kind")  # type: ignore[attr-defined]
    if kind not in (None, "int64_list"):
        raise invalid(f"feature '{shown(name)}' is a {kind}; only features of integers (int64_list) can be used")
    return list(feature.int64_list.value)  # type: ignore[attr-defined]
