"""The rules for every written model, which make sure that NVIDIA Triton can run it too."""

from __future__ import annotations

import ast
from importlib.resources import files
from pathlib import Path

import pytest

from slipway.backends.python.scope import ModelScope
from slipway.backends.python.surface import build_surface
from slipway.convert import models
from slipway.convert.encoders.tasks import TASKS
from slipway.convert.models import model_source
from slipway.convert.vision.package import ANSWERS

NAMES = sorted(path.name.removesuffix(".py") for path in files(models).iterdir() if path.name.endswith(".py"))
NAMES.remove("__init__")
STANDARD = {"__future__", "collections", "difflib", "io", "json", "logging", "pathlib", "struct", "typing", "zlib"}
GIVEN = {"PIL", "numpy", "tokenizers", "triton_python_backend_utils"}
ENGINES = ("completions", "generate", "stream", "translate")
PAGES = ("page_elements", "page_letterbox")
NOT_SELF_CONTAINED = (*ENGINES, *PAGES)
STUB = Path(__file__).parents[3] / "typings/triton_python_backend_utils.pyi"


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_self_contained_but_for_engines_and_pages_which_need_slipway(name):
    imported: set[str] = set()
    for node in ast.walk(ast.parse(model_source(name))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module)
    own = {module for module in imported if module.split(".")[0] == "slipway"}
    assert {module.split(".")[0] for module in imported - own} <= STANDARD | GIVEN
    assert bool(own) == (name in NOT_SELF_CONTAINED)
    assert own <= {"slipway.runtime"}


@pytest.mark.parametrize("name", [name for name in NAMES if name not in NOT_SELF_CONTAINED])
def test_a_model_is_written_in_the_python_of_the_oldest_triton(name):
    tree = ast.parse(model_source(name), feature_version=(3, 8))
    assert any(isinstance(node, ast.ClassDef) and node.name == "TritonPythonModel" for node in tree.body)
    assert any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)


def test_every_task_with_an_answer_has_its_model_and_no_model_is_left_over():
    answers = {f"answer_{row.answer}" for row in TASKS.values() if row.answer} | set(ANSWERS.values())
    assert answers | {"tokenizer", "detokenizer", "image_processor", *NOT_SELF_CONTAINED} == set(NAMES)


def test_the_type_stub_of_tritons_module_only_has_existing_names(tmp_path):
    surface = build_surface(ModelScope(None, "m_0", str(tmp_path), str(tmp_path)))
    promised = set()
    for node in ast.parse(STUB.read_text()).body:
        match node:
            case ast.ImportFrom(module=module, names=names) if module != "typing":
                promised |= {alias.asname for alias in names if alias.asname}  # `as` is what exports a name
            case ast.FunctionDef(name=name) | ast.AnnAssign(target=ast.Name(id=name)):
                promised.add(name)
            case ast.Assign(targets=[ast.Name(id=name)]):
                promised.add(name)
    assert len(promised) == 7
    assert all(hasattr(surface, name) for name in promised)
