"""Import a model's `model.py`.

In a child process a model is imported as by Triton's stub: `sys.argv` is `[""]`, the working directory and the
version's and the model's directories are on `sys.path`, and the module is named `<version>.model`. In the server's
process it gets a private import space: its modules live in their own package, and `import helper` in one of them finds
the model's own helper.py first, so models with files of the same name do not collide.
(`importlib.import_module("helper")` is not redirected there.)
"""

from __future__ import annotations

import builtins
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from itertools import count
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from slipway.backends.python.surface import MODULE_NAME, NATIVE_NAME, native_module

_NUMBERS: Final = count()


def import_alone(model_file: Path, surface: ModuleType) -> ModuleType:
    """Import `model_file` (<model>/<version>/model.py, or a backend's) into a process that runs only this model."""
    directory = model_file.parent
    sys.modules[MODULE_NAME] = surface
    sys.modules[NATIVE_NAME] = native_module(surface)
    sys.argv = [""]
    # Triton has the working directory first; here a file in it cannot take the place of an installed package.
    sys.path += ["", str(directory), str(directory.parent)]
    name = model_file.stem
    if directory.name.isdecimal():  # a version; a backend may have the name of an installed package
        name = f"{directory.name}.{name}"
        package = sys.modules[directory.name] = ModuleType(directory.name)
        package.__path__ = [str(directory)]
    spec = spec_from_file_location(name, model_file)
    if spec is None or spec.loader is None:
        raise ImportError(f"'{model_file.name}' is not a Python source file")
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Loader(SourceFileLoader):
    """Runs a module with its model's own `__import__`."""

    def __init__(self, name: str, path: str, model_builtins: Mapping[str, Any]) -> None:
        super().__init__(name, path)
        self._builtins = model_builtins

    def exec_module(self, module: ModuleType) -> None:
        vars(module)["__builtins__"] = self._builtins
        super().exec_module(module)


class ImportSpace(MetaPathFinder):
    """The private modules of one model in a shared process, from `open` to `close`."""

    def __init__(self, directories: Sequence[Path], surface: ModuleType) -> None:
        self._directories = [str(directory) for directory in directories]
        self._given = {MODULE_NAME: surface, NATIVE_NAME: native_module(surface)}
        self._package = f"_slipway_model_{next(_NUMBERS)}"
        self._import: Callable[..., ModuleType] = builtins.__import__
        self._builtins = {**vars(builtins), "__import__": self._import_for_model}

    def open(self) -> None:
        """Make the model's modules importable."""
        package = ModuleType(self._package)
        package.__path__ = self._directories
        sys.modules[self._package] = package
        sys.meta_path.insert(0, self)

    def import_module(self, name: str) -> ModuleType:
        """Import the model's own module `name`."""
        return importlib.import_module(f"{self._package}.{name}")

    def close(self) -> None:
        """Forget the model's modules."""
        sys.meta_path.remove(self)
        own = self._package + "."
        for name in [name for name in sys.modules if name == self._package or name.startswith(own)]:
            del sys.modules[name]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module of the private package."""
        if not fullname.startswith(self._package + "."):
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(fullname, spec.loader.path, self._builtins)
        return spec

    def _import_for_model(
        self,
        name: str,
        globals: Mapping[str, object] | None = None,  # noqa: A002  the parameters of __import__
        locals: Mapping[str, object] | None = None,  # noqa: A002
        fromlist: Sequence[str] | None = (),
        level: int = 0,
    ) -> ModuleType:
        top = name.partition(".")[0]
        if level == 0 and top in self._given:
            return self._given[top]
        if level != 0 or not self._is_own(top):
            return self._import(name, globals, locals, fromlist, level)
        module = self._import(f"{self._package}.{name}", globals, locals, fromlist, 0)
        return module if fromlist else sys.modules[f"{self._package}.{top}"]

    def _is_own(self, top: str) -> bool:
        """Return whether a top-level name is the model's; a plain directory only if nothing else has that name."""
        if f"{self._package}.{top}" in sys.modules:
            return True
        spec = PathFinder.find_spec(top, self._directories)
        return spec is not None and (spec.origin is not None or find_spec(top) is None)
