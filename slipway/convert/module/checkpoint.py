"""Read the weights from a checkpoint file and load them into a model, either all of them or none.

Without `allow_pickle`, no code in the file is run: PyTorch files are read with weights_only, and safetensors contain no
code. Wrappers that training loops put around the weights are removed here.
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from slipway.errors import SlipwayError, invalid

# Keys under which training loops store the weights, in the order in which they are tried.
_WRAPPERS: Final = ("state_dict", "model_state_dict", "model")
# Prefixes that DataParallel, torch.compile and Lightning add to every name.
_PREFIXES: Final = ("module.", "_orig_mod.", "model.")
_NAMES_SHOWN: Final = 3


def load_weights(module: Any, path: Path, *, allow_pickle: bool) -> None:
    """Fill a torch.nn.Module from `path`; raise INVALID_ARG if a weight is missing, unexpected or misshapen."""
    expected = module.state_dict()
    weights = _unprefix(_unwrap(_read(path, allow_pickle=allow_pickle), path), expected)
    problems = _differences(weights, expected)
    if problems:
        raise invalid(f"checkpoint '{path}' does not fit the class '{type(module).__name__}': {'; '.join(problems)}")
    module.load_state_dict(weights)


def _read(path: Path, *, allow_pickle: bool) -> Any:
    if not path.is_file():
        raise invalid(f"--ckpt-path '{path}' is not a file")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        return _load_torch(path, allow_pickle=allow_pickle)
    except Exception as error:  # from torch, pickle, zipfile or safetensors, depending on the contents of the file
        raise _unreadable(path, error) from error


def _load_torch(path: Path, *, allow_pickle: bool) -> Any:
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a TorchScript file warns before it is refused
        return torch.load(path, map_location="cpu", weights_only=not allow_pickle)


def _unreadable(path: Path, error: Exception) -> SlipwayError:
    text = " ".join(str(error).split())
    if "TorchScript" in text:
        return invalid(f"'{path}' is a TorchScript program, not a state_dict; `slipway convert` accepts it")
    if isinstance(error, pickle.UnpicklingError) and "Unsupported " in text and "lobal" in text:
        reason = text.partition("Unsupported ")[2].partition(" Please ")[0].partition(", or ")[0].rstrip(". ")
        return invalid(
            f"'{path}' contains objects that only pickle can load ({reason[:120]}), and pickle can run code from the "
            f"file; save model.state_dict() instead, or add --allow-pickle if you trust the source of the file"
        )
    return invalid(f"'{path}' is not a readable checkpoint: {text[:200] or type(error).__name__}")


def _unwrap(loaded: Any, path: Path) -> dict[str, Any]:
    """Return the mapping of names to tensors inside a loaded object."""
    import torch

    if isinstance(loaded, torch.nn.Module):  # with --allow-pickle only
        loaded = loaded.state_dict()
    while isinstance(loaded, Mapping) and not _is_state_dict(loaded):
        inner = next((loaded[key] for key in _WRAPPERS if isinstance(loaded.get(key), Mapping | torch.nn.Module)), None)
        if inner is None:
            break
        loaded = inner.state_dict() if isinstance(inner, torch.nn.Module) else inner
    if not (isinstance(loaded, Mapping) and _is_state_dict(loaded)):
        keys = f" with the keys {_short([str(key) for key in loaded])}" if isinstance(loaded, Mapping) else ""
        kind = type(loaded).__name__
        raise invalid(
            f"checkpoint '{path}' contains a {kind}{keys} instead of a state_dict; expected tensors by name, at the "
            f"top level or under {', '.join(_WRAPPERS)}"
        )
    return dict(loaded)


def _is_state_dict(loaded: Mapping[Any, Any]) -> bool:
    import torch

    return bool(loaded) and all(isinstance(value, torch.Tensor) for value in loaded.values())


def _unprefix(weights: dict[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """Strip prefixes that all names have, unless the model's own names have them too."""
    found = True
    while found:
        found = False
        for prefix in _PREFIXES:
            own = all(name.startswith(prefix) for name in expected)
            if not own and all(name.startswith(prefix) for name in weights):
                weights = {name.removeprefix(prefix): value for name, value in weights.items()}
                found = True
    return weights


def _differences(weights: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    missing = [name for name in expected if name not in weights]
    unexpected = [name for name in weights if name not in expected]
    problems = [f"missing {_short(missing)}"] if missing else []
    problems += [f"unexpected {_short(unexpected)}"] if unexpected else []
    for name, value in weights.items():
        if name in expected and value.shape != expected[name].shape:
            shapes = f"{list(value.shape)} in the file, {list(expected[name].shape)} in the class"
            problems.append(f"'{name}' is {shapes}")
    return problems


def _short(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:_NAMES_SHOWN])
    rest = len(names) - _NAMES_SHOWN
    return f"{shown} and {rest} more" if rest > 0 else shown
