"""The commands that messages give for what is missing, held against pyproject.toml."""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

import pytest

from slipway import installation
from slipway.installation import CPU_TORCH, DISTRIBUTION, WITH_TORCH, install_hint, torch_hint

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# Files of the repository that people read or run; those that hold what earlier versions wrote stay as they are.
TEXTS = [ROOT / "README.md", ROOT / "Makefile", *ROOT.glob("docs/*.md"), *ROOT.glob("examples/**/*.*")]
TEXTS += ROOT.glob("slipway/**/*.py")


def needs(extra: str, library: str) -> bool:
    """Return whether an extra installs a library, itself or through other extras."""
    for requirement in EXTRAS[extra]:
        name, _, rest = requirement.partition("[")
        if re.match(rf"{library}\b", requirement):
            return True
        if name == DISTRIBUTION and any(needs(inner, library) for inner in rest.partition("]")[0].split(",")):
            return True
    return False


@pytest.fixture(params=["linux", "linux with a GPU", "darwin"])
def platform(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Pretend to run on a platform where torch is not installed."""
    monkeypatch.setattr(sys, "platform", request.param.split()[0])
    monkeypatch.setattr(installation, "has_gpu", lambda: "GPU" in request.param)
    monkeypatch.setattr(installation, "find_spec", lambda _: None)
    return request.param


def test_the_hints_name_the_distribution_and_know_which_extras_install_torch():
    assert PROJECT["name"] == DISTRIBUTION
    assert {extra for extra in EXTRAS if needs(extra, "torch")} == WITH_TORCH


def test_a_hint_installs_the_extra_and_the_small_torch_first_where_pip_would_take_the_large_one(platform):
    plain = 'pip install "slipway-serving[convert,generate]"'
    expected = f"{CPU_TORCH} && {plain}" if platform == "linux" else plain
    assert install_hint("convert", "generate") == expected
    assert torch_hint() == (CPU_TORCH if platform == "linux" else "pip install torch")
    assert install_hint("openvino") == 'pip install "slipway-serving[openvino]"'


def test_a_torch_that_is_there_stays(platform, monkeypatch):
    monkeypatch.setattr(installation, "find_spec", lambda name: name)
    assert install_hint("torch") == 'pip install "slipway-serving[torch]"'


def test_no_text_installs_the_other_project_of_the_name_slipway():
    wrong = re.compile(r"""pip install( -\S+)* ["']?slipway(?![\w./-])|\bslipway\[""")
    assert [path for path in TEXTS if wrong.search(path.read_text(encoding="utf-8", errors="ignore"))] == []


def test_every_extra_that_a_text_names_exists():
    hints = [hint for path in TEXTS for hint in re.findall(r"install_hint\(([^)]*)\)", path.read_text(errors="ignore"))]
    named = {name for hint in hints for name in re.findall(r"""["'](\w+)["']""", hint)}
    assert named
    assert named <= EXTRAS.keys()


def test_readme_gives_the_command_of_the_hints_for_the_small_torch():
    assert CPU_TORCH in (ROOT / "README.md").read_text(encoding="utf-8")
