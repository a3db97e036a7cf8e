"""The model that turns a detector's queries into objects equals transformers' post-processing."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from tests.convert.models.kit import written

LABELS = ("table", "chart", "title")


def detector(directory, scores="softmax", most=0):
    return written(
        directory,
        "answer_detection",
        inputs=("logits", "pred_boxes", "original_size", "threshold"),
        outputs=("boxes", "scores", "labels"),
        parameters={"SCORES": scores, "MOST": str(most)},
        files={"labels.txt": "".join(f"{label}\n" for label in LABELS)},
    )


def queries(rows: int, *, classes: int, count: int = 12) -> dict[str, np.ndarray]:
    random = np.random.default_rng(3)
    return {
        "logits": random.normal(0, 2, (rows, count, classes)).astype(np.float32),
        "pred_boxes": random.uniform(0, 1, (rows, count, 4)).astype(np.float32),
        "original_size": np.array([[480, 640], [33, 1000], [1, 1]][:rows], np.int64),
    }


@pytest.mark.parametrize(
    ("processor", "scores", "most"),
    [
        ("DetrImageProcessorPil", "softmax", 0),
        ("YolosImageProcessorPil", "softmax", 0),
        ("RTDetrImageProcessorPil", "sigmoid", 0),
        ("ConditionalDetrImageProcessorPil", "sigmoid", 100),
    ],
)
@pytest.mark.parametrize("threshold", [0.5, 0.3])
def test_objects_equal_those_of_transformers(tmp_path, processor, scores, most, threshold):
    import torch
    import transformers

    given = queries(3, classes=len(LABELS) + (scores == "softmax"))
    outputs = SimpleNamespace(
        logits=torch.from_numpy(given["logits"]), pred_boxes=torch.from_numpy(given["pred_boxes"])
    )
    sizes = [tuple(row) for row in given["original_size"].tolist()]
    expected = getattr(transformers, processor)().post_process_object_detection(
        outputs, threshold=threshold, target_sizes=sizes
    )
    with detector(tmp_path, scores, most) as model:
        found = model.ask(**given, threshold=np.full((3, 1), threshold, np.float32))
    assert max(len(row["scores"]) for row in expected) == found["scores"].shape[1] > 0
    for row, objects in enumerate(expected):
        count = len(objects["scores"])
        np.testing.assert_allclose(found["scores"][row, :count], objects["scores"].numpy(), rtol=1e-5)
        np.testing.assert_allclose(found["boxes"][row, :count], objects["boxes"].numpy(), rtol=1e-5, atol=1e-4)
        assert [label.decode() for label in found["labels"][row, :count]] == [LABELS[at] for at in objects["labels"]]
        assert not found["scores"][row, count:].any()
        assert not found["boxes"][row, count:].any()
        assert set(found["labels"][row, count:]) <= {b""}


def test_the_usual_threshold_is_a_half(tmp_path):
    given = queries(2, classes=4)
    with detector(tmp_path) as model:
        usual = model.ask(**given)
        half = model.ask(**given, threshold=np.full((2, 1), 0.5, np.float32))
    assert usual["scores"].size
    for name, array in usual.items():
        np.testing.assert_array_equal(array, half[name])


def test_nothing_found_is_an_empty_response(tmp_path):
    with detector(tmp_path) as model:
        found = model.ask(**queries(2, classes=4), threshold=np.ones((2, 1), np.float32))
    assert {name: array.shape for name, array in found.items()} == {
        "boxes": (2, 0, 4),
        "scores": (2, 0),
        "labels": (2, 0),
    }


@pytest.mark.parametrize("threshold", [-0.1, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused_for_its_request_alone(tmp_path, threshold):
    given = queries(1, classes=4)
    with detector(tmp_path) as model:
        bad, good = model.execute([{**given, "threshold": np.full((1, 1), threshold, np.float32)}, given])
    assert bad.error.code().name == "INVALID_ARG"
    assert "from 0 to 1" in bad.error.message()
    assert good.arrays()["scores"].size
