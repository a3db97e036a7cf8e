"""Run the user's script and build the model class that it defines.

The script is a program: importing it runs whatever it says, with the user's rights. Nothing here restrains it; the
command says so before it gets here.
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
    """Return an instance of the torch.nn.Module `class_name` of `script`; raise INVALID_ARG naming what stands in the
    way."""
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
        raise invalid(f"'{script}' has no model class '{class_name}'; its classes of torch.nn.Module: {listed}")
    try:
        return found()
    except Exception as error:
        raise _failed(f"'{class_name}()' of '{script}'", error) from error


def _import(script: Path) -> ModuleType:
    if not script.is_file():
        raise invalid(f"no such file: --model-script-path '{script}'")
    spec = spec_from_file_location(_MODULE, script)
    if spec is None or spec.loader is None:
        raise invalid(f"'{script}' is no Python file: its name must end in .py")
    module = module_from_spec(spec)
    sys.modules[_MODULE] = module  # dataclasses and pickle look a class's module up there
    sys.path.insert(0, str(script.resolve().parent))  # a script may import its neighbours, as when Python runs it
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
