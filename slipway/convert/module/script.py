"""Run the user's script and instantiate the model class that it defines.

The script is a program: importing it runs it with the user's rights and without a sandbox. The command warns of this
beforehand.
"""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from slipway.errors import SlipwayError, invalid

_MODULE: Final = "slipway_user_script"


def build_module(script: Path, class_name: str) -> Any:
    """Return an instance of the torch.nn.Module `class_name` of `script`; raise INVALID_ARG with the reason if that
    fails."""
    import torch

    module = _import(script)
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, torch.nn.Module)):
        classes = [
            name
            for name, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__ == _MODULE
        ]
        listed = ", ".join(sorted(classes)) or "none"
        raise invalid(f"'{script}' has no model class '{class_name}'; its torch.nn.Module classes: {listed}")
    try:
        return found()
    except Exception as error:
        raise _failed(f"'{class_name}()' of '{script}'", error) from error


def _import(script: Path) -> ModuleType:
    if not script.is_file():
        raise invalid(f"--model-script-path '{script}' is not a file")
    spec = spec_from_file_location(_MODULE, script)
    if spec is None or spec.loader is None:
        raise invalid(f"'{script}' is not a Python file: its name must end in .py")
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module  # where dataclasses and pickle look up a class's module
    sys.path.insert(0, str(script.resolve().parent))  # lets a script import its neighbours, as when run by Python
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise _failed(f"'{script}'", error) from error
    finally:
        sys.path.remove(str(script.resolve().parent))
    return module


def _failed(what: str, error: BaseException) -> SlipwayError:
    text = " ".join(str(error).split())
    return invalid(f"{what} failed with {type(error).__name__}: {text}")
