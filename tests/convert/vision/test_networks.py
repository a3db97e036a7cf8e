"""The networks that see images: each passes the gate, and what cannot be converted is refused by name."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from slipway.convert.directory import Task
from slipway.convert.thresholds import TOLERANCE
from slipway.convert.vision.source import is_vision, read_vision
from slipway.errors import SlipwayError
from tests.kits.encoder_checkpoints import write_checkpoint
from tests.kits.vision_checkpoints import CLASSIFIERS, DETECTORS, write_classifier, write_detector, write_pair
from tests.kits.vision_gate import gate_vision


def change_config(directory, **changes):
    path = directory / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("model_type", CLASSIFIERS)
def test_a_classifier_passes_the_gate_on_pictures(tmp_path, model_type):
    gated = gate_vision(write_classifier(tmp_path / "source", model_type), tmp_path / "work")
    assert gated.verdict.problems == ()
    assert gated.verdict.figures.rows > 100
    assert gated.verdict.figures.difference <= TOLERANCE
    assert [(each.name, each.dims) for each in gated.source.subject.interface.inputs] == [("pixel_values", (3, 32, 32))]
    assert gated.source.models == ("m-processor", "m-model", "m-answer", "m")


@pytest.mark.parametrize("model_type", DETECTORS)
def test_a_detector_passes_the_gate_on_pictures_of_its_sizes(tmp_path, model_type):
    gated = gate_vision(write_detector(tmp_path / "source", model_type), tmp_path / "work")
    assert gated.verdict.problems == ()
    interface = gated.source.subject.interface
    assert [each.name for each in interface.outputs] == ["logits", "pred_boxes"]
    assert (interface.inputs[0].dims == (3, 64, 64)) == (model_type == "rt_detr")
    assert [each.name for each in interface.inputs][1:] == (["pixel_mask"] if model_type == "detr" else [])


@pytest.mark.parametrize("model_type", ["clip", "siglip"])
@pytest.mark.parametrize("task", [Task.IMAGE_EMBEDDING, Task.TEXT_EMBEDDING])
def test_both_sides_of_a_pair_pass_the_gate(tmp_path, model_type, task):
    gated = gate_vision(write_pair(tmp_path / "source", model_type), tmp_path / "work", task=task)
    assert gated.verdict.problems == ()
    assert gated.verdict.figures.texts > 90
    assert any("one side of the network" in note for note in gated.source.notes)


def test_the_image_side_of_a_pair_is_the_default(tmp_path):
    assert read_vision(write_pair(tmp_path), None).task is Task.IMAGE_EMBEDDING


def test_a_text_encoder_is_not_of_this_wing(tmp_path):
    assert not is_vision(write_checkpoint(tmp_path))


def test_a_head_without_a_task_is_refused_by_name(tmp_path):
    source = write_classifier(tmp_path)
    change_config(source, architectures=["BeitForSemanticSegmentation"])
    assert is_vision(source)
    with pytest.raises(SlipwayError, match=r"'BeitForSemanticSegmentation'.*is not supported.*ForObjectDetection"):
        read_vision(source, None)


def test_a_task_of_other_networks_is_refused(tmp_path):
    with pytest.raises(SlipwayError, match="cannot serve the task 'fill-mask'; it can serve: image-classification"):
        read_vision(write_classifier(tmp_path), Task.MASK)


def test_labels_that_do_not_fit_the_network_are_refused(tmp_path):
    source = write_detector(tmp_path / "source", "yolos")
    change_config(source, id2label={"0": "table", "1": "chart"})
    with pytest.raises(SlipwayError, match=r"misshapen|2 labels"):
        gate_vision(source, tmp_path / "work")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda arrays: arrays.pop("vit.layernorm.weight"), "1 missing arrays, first 'vit.layernorm.weight'"),
        (
            lambda arrays: arrays.update({"vit.extra.weight": np.ones(3, np.float32)}),
            "not used, first 'vit.extra.weight'",
        ),
    ],
    ids=["missing", "spare"],
)
def test_arrays_that_do_not_fit_the_network_are_refused(tmp_path, change, problem):
    source = write_classifier(tmp_path / "source")
    arrays = load_file(source / "model.safetensors")
    change(arrays)
    save_file(arrays, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SlipwayError, match=problem):
        gate_vision(source, tmp_path / "work")


def test_a_detector_whose_choice_hangs_on_rounding_is_refused(tmp_path):
    source = write_detector(tmp_path / "source", "rt_detr")
    arrays = load_file(source / "model.safetensors")
    same = {name: np.zeros_like(array) for name, array in arrays.items() if "enc_score_head" in name}
    assert same
    save_file(arrays | same, source / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(SlipwayError, match="no picture can be compared"):
        gate_vision(source, tmp_path / "work")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        (
            {"id2label": {"0": "cat", "1": "dog", "2": "bird", "4": "fish", "5": "ant"}},
            "none for class 3",
        ),
        ({"problem_type": "multilabel_classification"}, "did you mean 'multi_label_classification'?"),
        ({"problem_type": ["x"]}, "expected one of regression, "),
    ],
    ids=["gap", "misspelt", "list"],
)
def test_labels_and_their_scores_are_a_closed_world(tmp_path, changes, problem):
    source = write_classifier(tmp_path)
    change_config(source, **changes)
    with pytest.raises(SlipwayError) as caught:
        read_vision(source, None)
    assert problem in caught.value.message


def test_a_damaged_scale_of_a_pair_is_refused(tmp_path):
    source = write_pair(tmp_path / "source")
    arrays = load_file(source / "model.safetensors")
    save_file(
        arrays | {"logit_scale": np.full_like(arrays["logit_scale"], 1e4)},
        source / "model.safetensors",
        metadata={"format": "pt"},
    )
    with pytest.raises(SlipwayError, match="is damaged: the exponential of logit_scale is inf"):
        gate_vision(source, tmp_path / "work")


def test_the_pooler_of_an_earlier_task_is_noted(tmp_path):
    source = write_classifier(tmp_path / "source")
    arrays = load_file(source / "model.safetensors") | {"vit.pooler.dense.weight": np.ones((32, 32), np.float32)}
    save_file(arrays, source / "model.safetensors", metadata={"format": "pt"})
    notes = gate_vision(source, tmp_path / "work").source.notes
    assert "the checkpoint's vit.pooler.dense.weight are not used" in notes


def test_an_unknown_setting_is_noted(tmp_path):
    source = write_classifier(tmp_path / "source", colour_of_the_sky="blue")
    notes = gate_vision(source, tmp_path / "work").source.notes
    assert "config.json sets 'colour_of_the_sky' to 'blue', which is not used" in notes
