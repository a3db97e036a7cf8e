import os
import shutil

import pytest

from slipway.repository.diff import diff
from slipway.repository.fingerprint import fingerprint


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "m"
    (path / "1").mkdir(parents=True)
    (path / "config.pbtxt").write_text('backend: "identity"')
    (path / "1" / "model.py").write_text("one")
    return path


def test_models_appear_vanish_and_change(model):
    look = fingerprint(model)
    (model / "config.pbtxt").write_text('backend: "python"')
    changed = fingerprint(model)
    difference = diff({"a": look, "b": look, "c": look}, {"b": changed, "c": look, "d": look})
    assert (difference.added, difference.removed, difference.changed) == (("d",), ("a",), ("b",))
    assert difference
    assert not diff({"c": look}, {"c": look})


def test_a_new_file_in_a_version_changes_that_version_only(model):
    (model / "2").mkdir()
    before = fingerprint(model)
    (model / "2" / "deep").mkdir()
    (model / "2" / "deep" / "weights").write_text("x")
    after = fingerprint(model)
    assert before.shared == after.shared
    assert before.versions[1] == after.versions[1]
    assert before.versions[2] != after.versions[2]


def test_a_touched_config_changes_what_the_versions_share(model):
    before = fingerprint(model)
    os.utime(model / "config.pbtxt", ns=(1, 1))
    assert fingerprint(model).shared != before.shared


def test_running_a_model_does_not_change_it(model):
    before = fingerprint(model)
    (model / "1" / "__pycache__").mkdir()
    (model / "1" / "__pycache__" / "model.pyc").write_text("x")
    assert fingerprint(model) == before


def test_a_link_to_a_parent_directory_ends_the_walk(model):
    (model / "1" / "loop").symlink_to(model)
    assert fingerprint(model).versions[1]


def test_a_broken_link_and_a_vanished_directory_are_not_errors(model):
    (model / "1" / "gone").symlink_to(model / "nothing")
    assert [name for name, _, _ in fingerprint(model).versions[1]] == ["model.py"]
    shutil.rmtree(model)
    assert fingerprint(model).versions == {}
