"""What a `model.py` imports from `slipway.runtime`: stable names, each loaded on first use."""

from __future__ import annotations

import subprocess
import sys

import pytest

import slipway.runtime

# Add names, but remove none: users' repositories import them.
NAMES = {
    "AnswerSink",
    "Code",
    "CompletionModel",
    "CompletionSink",
    "DetectionRules",
    "GenerationModel",
    "SlipwayError",
    "SourceLanguage",
    "Tensor2TensorModel",
    "TextEncoder",
    "TextPieces",
    "decoded_grid",
    "open_page",
    "page_batch",
    "page_elements",
    "parameter_arrays",
}


def test_the_public_names_exist():
    assert set(slipway.runtime.__all__) == set(dir(slipway.runtime)) == NAMES
    for name in NAMES:
        assert getattr(slipway.runtime, name).__name__ == name


def test_an_unknown_name_raises_the_usual_errors():
    with pytest.raises(AttributeError, match=r"module 'slipway\.runtime' has no attribute 'Reply'"):
        slipway.runtime.Reply  # noqa: B018
    with pytest.raises(ImportError, match="cannot import name 'Reply'"):
        from slipway.runtime import Reply  # noqa: F401


def test_importing_the_package_does_not_import_the_implementations():
    code = (
        "import sys, slipway.runtime; print(*[name for name in sys.modules if name.startswith(('slipway', 'numpy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name for name in done.stdout.split() if name.split(".")[0] in ("slipway", "numpy", "torch")}
    assert loaded == {"slipway", "slipway.runtime"}


def test_codes_have_the_names_of_tritons_error_codes():
    from slipway.backends.python.errors import TritonError

    assert all(hasattr(TritonError, code.name) for code in slipway.runtime.Code)
