import subprocess
import sys

import pytest

from slipway.backends import registry
from slipway.backends.registry import find_backend
from slipway.errors import Code, SlipwayError


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


def test_a_missing_library_names_the_pip_command(monkeypatch):
    monkeypatch.setattr(registry, "find_spec", lambda _name: None)
    with pytest.raises(SlipwayError) as caught:
        find_backend("pytorch")
    assert caught.value.code is Code.UNAVAILABLE
    assert 'pip install "slipway[torch]"' in caught.value.message


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
