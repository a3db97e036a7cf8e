"""Backends of installed packages: found by their entry points, imported late, refused with their package's name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import pytest
import tritonclient.http as httpclient

from benchmarks.serving import RunningServer
from slipway.backends import registry
from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from slipway.backends.python.backend import PythonBackend
from slipway.backends.registry import backend_names, find_backend
from slipway.errors import Code, SlipwayError
from slipway.lint.check import check_repository
from slipway.machine import Machine

EXAMPLE = Path(__file__).parents[2] / "examples" / "backend"
PIP = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-build-isolation")

Offer = Callable[..., None]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the example's package into a directory of its own, without network."""
    source, target = tmp_path_factory.mktemp("package") / "source", tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE, source)  # setuptools builds next to the source
    subprocess.run([sys.executable, *PIP, "--no-index", "--target", target, source], check=True)
    return target


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Write a repository with one model of the example's backend."""
    version = tmp_path / "models" / "triple" / "1"
    version.mkdir(parents=True)
    (version / "scale.txt").write_text("3\n")
    (version.parent / "config.pbtxt").write_text('backend: "scale"\n')
    return tmp_path / "models"


@pytest.fixture
def offer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Offer]:
    """Offer a backend to this process, as an installed package would: by a dist-info directory on the path."""

    def install(name: str, value: str, *, package: str = "foreign", code: str = "") -> None:
        site = tmp_path / package
        (site / f"{package}-2.5.dist-info").mkdir(parents=True)
        (site / f"{package}-2.5.dist-info" / "METADATA").write_text(f"Name: {package}\nVersion: 2.5\n")
        (site / f"{package}-2.5.dist-info" / "entry_points.txt").write_text(f"[slipway.backends]\n{name} = {value}\n")
        (site / f"{value.partition(':')[0]}.py").write_text(code)
        monkeypatch.syspath_prepend(str(site))
        registry._read_entry_points.cache_clear()

    registry._read_entry_points.cache_clear()
    yield install
    registry._read_entry_points.cache_clear()


def refusal(name: str) -> SlipwayError:
    with pytest.raises(SlipwayError) as caught:
        find_backend(name)
    return caught.value


def test_a_package_that_pip_installed_serves_a_model(
    site: Path, repository: Path, serve: Callable[..., RunningServer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))))
    server = serve(repository)
    with httpclient.InferenceServerClient(server.http) as client:
        given = httpclient.InferInput("INPUT", [2, 2], "FP32")
        given.set_data_from_numpy(np.array([[1, 2], [3, 4]], np.float32))
        answer = client.infer("triple", [given])
        config = client.get_model_config("triple")
    np.testing.assert_array_equal(answer.as_numpy("OUTPUT"), [[3, 6], [9, 12]])
    assert (config["backend"], config["max_batch_size"]) == ("scale", 4)


def test_the_linter_knows_the_backends_of_installed_packages(site, repository, monkeypatch):
    registry._read_entry_points.cache_clear()
    unknown = check_repository(repository, Machine(cpus=2, gpus=0))
    assert [finding.rule for finding in unknown.findings] == ["backend-unknown"]
    monkeypatch.syspath_prepend(str(site))
    registry._read_entry_points.cache_clear()
    assert check_repository(repository, Machine(cpus=2, gpus=0)).findings == ()
    assert "scale" in backend_names()
    registry._read_entry_points.cache_clear()


def test_a_package_is_imported_when_a_model_first_names_its_backend(offer):
    offer("tiny", "tiny_a:Tiny", code="class Tiny:\n    def complete(self): ...\n    def load(self): ...\n")
    find_backend("identity")
    assert "tiny" in backend_names()
    assert "tiny_a" not in sys.modules
    assert type(find_backend("tiny")).__name__ == "Tiny"


def test_a_built_in_backend_wins_over_a_package_with_one_warning_that_names_both(offer, caplog):
    offer("onnxruntime", "foreign_runtime:Runtime")
    assert isinstance(find_backend("onnxruntime"), OnnxRuntimeBackend)
    find_backend("onnxruntime")
    [warning] = caplog.messages
    assert warning == (
        "backend 'onnxruntime' of the package 'foreign' 2.5 (foreign_runtime:Runtime) is not used: the name belongs to "
        "Slipway's own (slipway.backends.onnxruntime.backend.OnnxRuntimeBackend)"
    )


def test_of_two_packages_with_one_name_the_first_is_used_with_a_warning_that_names_both(offer, caplog):
    offer("tiny", "tiny_b:Tiny", package="later", code="class Tiny: ...\n")
    offer("tiny", "tiny_c:Tiny", package="first", code="class Tiny:\n    complete = load = print\n")
    assert type(find_backend("tiny")).__module__ == "tiny_c"
    [warning] = caplog.messages
    assert warning == (
        "backend 'tiny' of the package 'later' 2.5 (tiny_b:Tiny) is not used: the name belongs to that of the package "
        "'first' 2.5"
    )


def test_a_backend_directory_stands_before_packages(offer, tmp_path):
    offer("tiny", "tiny_d:Tiny", code="class Tiny: ...\n")
    (tmp_path / "directory" / "tiny").mkdir(parents=True)
    (tmp_path / "directory" / "tiny" / "model.py").touch()
    assert isinstance(find_backend("tiny", [tmp_path / "directory"]), PythonBackend)


@pytest.mark.parametrize(
    ("value", "code", "problem"),
    [
        ("broken_a:Tiny", "import missing_library\n", "ModuleNotFoundError: No module named 'missing_library'"),
        ("broken_b:Tiny", "", "AttributeError: module 'broken_b' has no attribute 'Tiny'"),
        ("broken_c:Tiny", "raise OSError('no driver')\n", "OSError: no driver"),
    ],
)
def test_a_package_that_fails_to_import_is_named_with_what_it_raised(offer, value, code, problem):
    offer("tiny", value, code=code)
    error = refusal("tiny")
    assert error.code is Code.UNAVAILABLE
    assert error.message == (
        f"backend 'tiny' of the package 'foreign' 2.5 ({value}) fails to import: {problem}; install a version of the "
        f"package that works in this environment, or uninstall it"
    )


def test_the_linter_reports_a_package_that_fails_to_import(offer, repository):
    offer("scale", "broken_e:Scale", code="import missing_library\n")
    [finding] = check_repository(repository, Machine(cpus=2, gpus=0)).findings
    assert finding.rule == "backend-not-installed"
    assert "the package 'foreign' 2.5" in finding.message


def test_a_class_without_a_backends_methods_is_refused_by_what_it_lacks(offer):
    offer("tiny", "broken_d:Tiny", code="class Tiny:\n    complete = print\n")
    assert "is not a backend: it lacks load();" in refusal("tiny").message


def test_a_misspelt_name_is_compared_with_packages_too(offer):
    offer("tinybackend", "tiny_e:Tiny")
    assert refusal("tiny_backend").message.endswith("Did you mean 'tinybackend'?")


def test_the_example_does_not_touch_this_environment():
    assert "scale" not in {entry.name for entry in entry_points(group=registry.ENTRY_POINTS)}
