import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from slipway.backends import registry
from slipway.backends.registry import BUILT_IN, GRAPH_BACKENDS, backend_names, find_backend
from slipway.errors import Code, SlipwayError

BACKENDS = Path(registry.__file__).parent


def test_every_row_names_a_class_of_its_own_folder():
    for name, row in BUILT_IN.items():
        assert row.module.startswith(f"slipway.backends.{name}.")
        assert callable(getattr(import_module(row.module), row.attribute).load)


def test_every_folder_is_a_backend_or_what_backends_share():
    bound = "function"  # of the functions that a program binds with slipway.Server: no config can name it
    assert bound not in backend_names()
    assert {path.parent.name for path in BACKENDS.glob("*/__init__.py")} == {*BUILT_IN, "shared", bound}
    assert {path.name for path in BACKENDS.glob("*.py")} == {
        "__init__.py",
        "api.py",
        "instance_api.py",
        "registry.py",
    }


def test_the_lists_of_backends_come_from_the_table():
    assert set(backend_names()) >= {*BUILT_IN}
    assert {"onnxruntime", "openvino", "pytorch", "tensorrt"} == GRAPH_BACKENDS


@pytest.mark.parametrize("name", ["identity", "onnxruntime", "pytorch"])
def test_a_backend_is_found_by_its_config_name(name):
    backend = find_backend(name)
    assert callable(backend.complete)
    assert callable(backend.load)


def test_an_unknown_backend_is_refused_in_tritons_words():
    with pytest.raises(SlipwayError) as caught:
        find_backend("nosuch")
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == (
        "unable to find backend library for backend 'nosuch', try specifying runtime on the model configuration."
    )


@pytest.mark.parametrize(
    ("name", "meant"), [("onnxruntim", "onnxruntime"), ("torch", "pytorch"), ("open_vino", "openvino")]
)
def test_a_misspelt_backend_is_given_the_nearest_name_after_tritons_words(name, meant):
    with pytest.raises(SlipwayError) as caught:
        find_backend(name)
    assert caught.value.message == (
        f"unable to find backend library for backend '{name}', try specifying runtime on the model configuration. "
        f"Did you mean '{meant}'?"
    )


def test_a_backend_that_only_triton_has_is_not_taken_for_another():
    with pytest.raises(SlipwayError, match=r"configuration\.$"):
        find_backend("tensorflow")


def test_a_missing_library_names_the_pip_command(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda _name: None)
    with pytest.raises(SlipwayError) as caught:
        find_backend("pytorch")
    assert caught.value.code is Code.UNAVAILABLE
    assert 'pip install "slipway-serving[torch]"' in caught.value.message


@pytest.mark.parametrize("name", ["", "..", "../x", "a/b"])
def test_a_backend_name_cannot_leave_the_backend_directories(tmp_path, name):
    (tmp_path / "inside").mkdir()
    (tmp_path / "model.py").touch()
    with pytest.raises(SlipwayError, match="unable to find backend library"):
        find_backend(name, [tmp_path / "inside"])


def test_finding_backends_imports_no_heavy_library():
    code = (
        "import sys; from slipway.backends.registry import find_backend\n"
        "for name in ('identity', 'onnxruntime', 'pytorch'): find_backend(name)\n"
        "print(sorted({'torch', 'onnxruntime', 'onnx', 'transformers'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
