"""The names of `import slipway`: each is documented, known to type checkers, and costs nothing until it is used."""

from __future__ import annotations

import ast
import pydoc
import subprocess
import sys
from pathlib import Path

import pytest

import slipway

STUB = Path(slipway.__file__).with_suffix(".pyi")
NAMES = [name for name in slipway.__all__ if not name.startswith("_")]


def test_type_checkers_see_the_same_names_in_the_same_places():
    seen = {
        alias.asname: node.module
        for node in ast.parse(STUB.read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == slipway._PLACES


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_has_a_page_of_help(name):
    value = getattr(slipway, name)
    assert value.__doc__
    assert value.__doc__.splitlines()[0] in pydoc.render_doc(value, renderer=pydoc.plaintext)


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="module 'slipway' has no attribute 'Sever'"):
        _ = slipway.Sever


def test_importing_the_package_imports_no_library():
    code = "import slipway, sys; print({'numpy', 'grpc', 'tritonclient', 'asyncio'} & sys.modules.keys())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "set()\n"


def test_a_client_needs_neither_a_backend_nor_the_server():
    code = (
        "import slipway, sys; slipway.Client('http://localhost').close(); "
        "print(sorted({'onnxruntime', 'uvloop', 'gevent', 'slipway.server', 'slipway.engine'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "[]\n"
