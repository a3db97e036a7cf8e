"""Find a backend by its config.pbtxt name: a row of the table here, or an entry point of an installed package.

A row holds everything that other modules need to know about a backend. The code of a row or an entry point is
imported when a model first names it, so a server without torch models never imports torch. Knows no model.
"""

from __future__ import annotations

import difflib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Final, cast

from slipway.backends.api import Backend
from slipway.errors import Code, SlipwayError, refused, shown
from slipway.installation import install_hint
from slipway.problems import Problem, Rule

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

ENTRY_POINTS: Final = "slipway.backends"  # the group in which packages offer backends: name = "module:class"

NEEDS_PACKAGE: Final = "needs the package"  # by which `slipway verify` recognises this error from a server

_LOG: Final = logging.getLogger("slipway.backends")
_looking = Lock()  # models load in several threads; each warning is logged once


@dataclass(frozen=True, slots=True)
class BackendRow:
    """One of Slipway's own backends.

    `library` is the package it needs ("" if it needs none, or reports itself what is missing), `install` the command
    that installs it. `is_graph` says that it computes a graph on the CPU's cores; a Python model, by contrast, manages
    its own threads and rarely gains from more than one request at a time. `thread_keys` are the `parameters` that set
    the CPU threads of one instance, the usual one first. `ignored_keys` are the `parameters` that Triton's backend of
    this name reads and this one only reports.
    """

    module: str
    attribute: str
    library: str = ""
    install: str = ""
    is_graph: bool = False
    thread_keys: tuple[str, ...] = ()
    ignored_keys: tuple[str, ...] = ()


BUILT_IN: Final[Mapping[str, BackendRow]] = {
    "fastertransformer": BackendRow("slipway.backends.fastertransformer.backend", "FasterTransformerBackend"),
    "identity": BackendRow("slipway.backends.identity.backend", "IdentityBackend"),
    "lightseq": BackendRow("slipway.backends.lightseq.backend", "LightSeqBackend"),
    "onnxruntime": BackendRow(
        "slipway.backends.onnxruntime.backend",
        "OnnxRuntimeBackend",
        library="onnxruntime",
        install="pip install onnxruntime",
        is_graph=True,
        thread_keys=("intra_op_thread_count",),
        ignored_keys=(
            "cudnn_conv_algo_search",
            "gpu_mem_limit",
            "arena_extend_strategy",
            "do_copy_in_default_stream",
            "cudnn_conv_use_max_workspace",
        ),
    ),
    "openvino": BackendRow(
        "slipway.backends.openvino.backend",
        "OpenVinoBackend",
        library="openvino",
        install=install_hint("openvino"),
        is_graph=True,
        ignored_keys=("COMPILATION_NUM_THREADS",),
    ),
    "python": BackendRow("slipway.backends.python.backend", "PythonBackend"),
    "pytorch": BackendRow(
        "slipway.backends.pytorch.backend",
        "PyTorchBackend",
        library="torch",
        install=install_hint("torch"),
        is_graph=True,
        thread_keys=("INTRA_OP_THREAD_COUNT", "NUM_THREADS"),
        ignored_keys=(
            "ENABLE_JIT_EXECUTOR",
            "ENABLE_JIT_PROFILING",
            "ENABLE_TENSOR_FUSER",
            "TORCH_COMPILE_OPTIONAL_PARAMETERS",
        ),
    ),
    "tensorrt": BackendRow("slipway.backends.tensorrt.backend", "TensorRtBackend", is_graph=True),
}
GRAPH_BACKENDS: Final = frozenset(name for name, row in BUILT_IN.items() if row.is_graph)
THREAD_KEYS: Final = tuple(key for row in BUILT_IN.values() for key in row.thread_keys)


def backend_names() -> tuple[str, ...]:
    """Return the backend names that a model can use here: Slipway's own and those of installed packages."""
    return tuple(sorted({*BUILT_IN, *_installed()}))


def thread_key(name: str) -> str:
    """Return the usual parameter for the CPU threads of one instance, "" if the backend has none."""
    row = BUILT_IN.get(name)
    return row.thread_keys[0] if row is not None and row.thread_keys else ""


def find_backend(name: str, backend_directories: Sequence[Path] = ()) -> Backend:
    """Return the backend `name`: a row of the table, `<backend directory>/<name>/model.py` run as a Python model, or
    the backend that an installed package offers under that name, in this order.

    Raise INVALID_ARG for an unknown name, and UNAVAILABLE, which says what to do, when its library is not installed
    or its package cannot be imported.
    """
    installed = _installed()
    row = BUILT_IN.get(name)
    if row is not None:
        return _built_in(name, row)
    model_py = _python_based(name, backend_directories)
    if model_py is not None:
        return cast("Backend", _attribute(BUILT_IN["python"])(model_file=model_py))
    if name in installed:
        return _load(installed[name])
    unknown = f"unable to find backend library for backend '{shown(name)}'"
    text = f"{unknown}, try specifying runtime on the model configuration."
    fix = f"write one of {', '.join(backend_names())}, or set --backend-directory for a Python-based backend"
    raise refused(Problem(Rule.BACKEND_UNKNOWN, f"{text}{_suggestion(name)}", ("backend",), fix))


def _built_in(name: str, row: BackendRow) -> Backend:
    if row.library and find_spec(row.library) is None:
        text = f"backend '{name}' {NEEDS_PACKAGE} '{row.library}'; install it with: {row.install}"
        problem = Problem(Rule.BACKEND_NOT_INSTALLED, text, ("backend",), subject=row.library)
        raise refused(problem, code=Code.UNAVAILABLE)
    return cast("Backend", _attribute(row)())


def _attribute(row: BackendRow) -> type:
    return cast("type", getattr(import_module(row.module), row.attribute))


def _python_based(name: str, backend_directories: Sequence[Path]) -> Path | None:
    if name == ".." or Path(name).name != name:  # not a plain name: it might lead out of the backend directories
        return None
    candidates = (directory / name / "model.py" for directory in backend_directories)
    return next((model_py for model_py in candidates if model_py.is_file()), None)


def _installed() -> Mapping[str, EntryPoint]:
    """Return the backends of installed packages; they are searched for once."""
    with _looking:
        return _read_entry_points()


@cache
def _read_entry_points() -> Mapping[str, EntryPoint]:
    """Return the entry points by name; warn when a name is taken, by one of Slipway's own or by an earlier package."""
    from importlib.metadata import entry_points  # takes 25 ms, which `import slipway` must not cost

    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=ENTRY_POINTS):
        if entry.name in BUILT_IN:
            row = BUILT_IN[entry.name]
            _warn_shadowed(entry, f"Slipway's own ({row.module}.{row.attribute})")
        elif entry.name in found:
            _warn_shadowed(entry, f"that of {_distribution(found[entry.name])}")
        else:
            found[entry.name] = entry
    return found


def _warn_shadowed(entry: EntryPoint, used: str) -> None:
    _LOG.warning(
        "backend '%s' of %s (%s) is not used: the name belongs to %s",
        entry.name,
        _distribution(entry),
        entry.value,
        used,
    )


def _load(entry: EntryPoint) -> Backend:
    """Return the backend of an entry point; raise UNAVAILABLE, naming its package, when it does not provide one."""
    try:
        backend = entry.load()()
    except Exception as error:  # another package's code may raise anything
        raise _unusable(entry, f"fails to import: {type(error).__name__}: {error}") from error
    missing = [method for method in ("complete", "load") if not callable(getattr(backend, method, None))]
    if missing:
        raise _unusable(entry, f"is not a backend: it lacks {' and '.join(f'{method}()' for method in missing)}")
    return cast("Backend", backend)


def _unusable(entry: EntryPoint, problem: str) -> SlipwayError:
    text = (
        f"backend '{entry.name}' of {_distribution(entry)} ({entry.value}) {problem}; install a version of the "
        f"package that works in this environment, or uninstall it"
    )
    return refused(Problem(Rule.BACKEND_NOT_INSTALLED, text, ("backend",)), code=Code.UNAVAILABLE)


def _distribution(entry: EntryPoint) -> str:
    return f"the package '{entry.dist.name}' {entry.dist.version}" if entry.dist else "an unnamed package"


def _suggestion(name: str) -> str:
    close = difflib.get_close_matches(name, backend_names(), n=1, cutoff=0.75)
    return f" Did you mean '{close[0]}'?" if close else ""
