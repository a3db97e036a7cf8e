"""The safe fixes: what they change, what they leave, and when they are not made."""

from __future__ import annotations

from pathlib import Path

import pytest
from onnx import TensorProto

from slipway.errors import SlipwayError
from slipway.lint.check import check_repository
from slipway.lint.finding import Edit, Finding, Severity
from slipway.lint.fixing import Change, apply_edits, plan_changes, write_change
from slipway.machine import Machine
from tests.kits import onnx_graphs as graphs
from tests.kits.lint_cases import BATCHES, ONNX, chain, model, onnx_model

MACHINE = Machine(cpus=4, gpus=0)


def fixed(repository, config):
    """Return a model's config after its fixes, and the rules of what is left."""
    directory = onnx_model(repository, config)
    for change in plan_changes(check_repository(repository, MACHINE).findings):
        write_change(change)
    left = {finding.rule for finding in check_repository(repository, MACHINE).findings}
    return (directory / "config.pbtxt").read_text(), left


@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("data_type: TYPE_FP32", "data_type: TYPE_INT32"),
        ("dims: [ -1 ]", "dims: [ -1, 3 ]"),
    ],
)
def test_a_declared_tensor_is_replaced_by_that_of_the_graph(tmp_path, right, wrong):
    assert fixed(tmp_path, ONNX.replace(right, wrong)) == (ONNX, set())


def test_a_string_tensor_of_the_graph_is_called_type_string(tmp_path):
    graphs.identity(model(tmp_path, ONNX), TensorProto.STRING)
    fixes = {finding.fix for finding in check_repository(tmp_path, MACHINE).findings}
    assert fixes == {"write data_type: TYPE_STRING"}


def test_dims_with_a_reshape_are_left_to_their_author(tmp_path):
    text = ONNX.replace("dims: [ -1 ] }", "dims: [ 2, 2 ] reshape { shape: [ 2, 2 ] } }", 1)
    assert fixed(tmp_path, text) == (text, {"dims-not-graph"})


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ('name: "other" # the name', 'name: "m" # the name'),
        ("instance_group [ { count: 0, kind: KIND_CPU } ]", "instance_group [ { kind: KIND_CPU } ]"),
        ("instance_group [ {\n  count: 0\n  kind: KIND_CPU\n} ]", "instance_group [ {\n  kind: KIND_CPU\n} ]"),
        ('paramters { key: "a" value { string_value: "b" } }', 'parameters { key: "a" value { string_value: "b" } }'),
    ],
)
def test_a_safe_fix_is_made_in_place(tmp_path, wrong, right):
    assert fixed(tmp_path, f"{ONNX}{wrong}\n") == (f"{ONNX}{right}\n", set())


def test_preferred_sizes_are_sorted_made_unique_and_cut_to_the_maximum_and_comments_stay(tmp_path):
    config = ONNX.replace("{ }", "{ # why\n  preferred_batch_size: [ 16, 4, 0, 2, 4 ] # as measured\n}")
    text, left = fixed(tmp_path, config)
    assert "{ # why\n  preferred_batch_size: [ 2, 4 ] # as measured\n}" in text
    assert left == set()


def test_dynamic_batching_is_added_where_it_pays(tmp_path):
    text, left = fixed(tmp_path, ONNX.replace("dynamic_batching { }\n", ""))
    assert text.endswith("dynamic_batching {}\n")
    assert left == set()


def test_edits_that_overlap_are_not_both_made():
    assert apply_edits("abcdef", [Edit(0, 3, "x"), Edit(2, 4, "y"), Edit(4, 6, "z")]) == "xdz"


def test_an_edit_that_would_break_the_file_is_not_made(tmp_path):
    file = tmp_path / "config.pbtxt"
    file.write_text('name: "m"\n')
    finding = Finding(Severity.ERROR, "unknown-field", "m", file, "", edits=(Edit(0, 4, "nme"),))
    assert plan_changes([finding]) == []


def test_a_file_keeps_its_mode_and_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "config.pbtxt"
    file.write_text("a")
    file.chmod(0o640)
    write_change(Change(file, "a", "b"))
    assert (file.read_text(), file.stat().st_mode & 0o777) == ("b", 0o640)
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_that_cannot_be_replaced_leaves_nothing_beside_it(tmp_path):
    file = tmp_path / "config.pbtxt"
    (file / "taken").mkdir(parents=True)  # a directory cannot be replaced by a file, not even by root
    with pytest.raises(SlipwayError, match="cannot write"):
        write_change(Change(file, "a", "b"))
    assert list(tmp_path.iterdir()) == [file]


def test_a_change_shows_as_a_unified_diff():
    diff = Change(Path("m/config.pbtxt"), "a\nb\n", "a\nc\n").diff
    assert diff == "--- m/config.pbtxt\n+++ m/config.pbtxt (fixed)\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"


def test_an_ensemble_is_given_the_smallest_batch_size_of_its_models(tmp_path):
    chain(tmp_path, BATCHES.replace("max_batch_size: 8", "max_batch_size: 4"), size=16)
    for change in plan_changes(check_repository(tmp_path, MACHINE).findings):
        write_change(change)
    assert "max_batch_size: 4\n" in (tmp_path / "e" / "config.pbtxt").read_text()
    assert check_repository(tmp_path, MACHINE).findings == ()


def test_an_ensemble_of_a_model_without_batches_is_left_to_its_author(tmp_path):
    chain(tmp_path, BATCHES.replace("max_batch_size: 8", "max_batch_size: 0"))
    assert plan_changes(check_repository(tmp_path, MACHINE).findings) == []
