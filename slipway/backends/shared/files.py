"""Find the file of a model version and make sure that it lies inside the model's own directory.

A configuration may come from a client (load with override), so its file name is not trusted.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Final

from slipway.errors import Code, SlipwayError, refused
from slipway.problems import Problem, Rule

# What Python's reader raises for a damaged or hostile zip file.
ZIP_ERRORS: Final = (
    zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError, ValueError,
    IndexError, OverflowError,
)  # fmt: skip
_PUT_THERE: Final = "put the file there or set default_model_filename"


# Texts of libraries about files that they cannot read, and the fix; other files are damaged.
_REMEDIES: Final = (
    (r"IR version|[Oo]pset .*(under development|not supported)", "upgrade onnxruntime, or export for an older opset"),
    (
        r"is not a registered function/op|No Op registered|No conversion rule|OpConversionFailure",
        "load the operators of the model's exporter (model_operations, CPU_EXTENSION_PATH), or export it without them",
    ),
    (r"[Ee]xternal data|external initializer", "put the file with the external data at the path that the model names"),
    (r"Save the model with", "save the model as the message says; copying the file again does not help"),
)
DAMAGED: Final = "export or copy the model again"


def unreadable_graph(text: str, code: Code = Code.INTERNAL) -> SlipwayError:
    """Return the error for a model file that its library cannot read, with the library's reason in `text`."""
    fix = next((fix for pattern, fix in _REMEDIES if re.search(pattern, text)), DAMAGED)
    return refused(Problem(Rule.GRAPH_UNREADABLE, text, fix=fix), code=code)


def model_file(model_name: str, version_directory: Path, file_name: str) -> Path:
    """Return the path of `file_name` in the version directory; raise when it is missing or lies outside it."""
    path = version_directory / relative_file(model_name, file_name, "version")
    if not path.exists():
        text = f"unable to find '{version_directory.name}/{file_name}' for model instance '{model_name}'; {_PUT_THERE}"
        raise refused(Problem(Rule.FILE_MISSING, text, fix=_PUT_THERE), code=Code.UNAVAILABLE)
    return path


def relative_file(model_name: str, file_name: str, directory: str) -> Path:
    """Return the file name as a path inside the model's or version's directory; raise INVALID_ARG if it leaves it."""
    relative = Path(file_name)
    if relative.is_absolute() or ".." in relative.parts:
        text = f"unable to load model '{model_name}', file name '{file_name}' leaves the {directory} directory"
        fix = f"name a file inside the {directory} directory"
        raise refused(Problem(Rule.FILE_OUTSIDE, text, ("default_model_filename",), fix))
    return relative
