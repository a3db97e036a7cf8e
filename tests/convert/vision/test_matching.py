"""The objects of two detectors are compared whatever their order."""

from __future__ import annotations

import numpy as np
import pytest

from slipway.convert.candidates.gate import Expectation, no_results
from slipway.convert.candidates.subject import Case
from slipway.convert.vision.families import SIGMOID, SOFTMAX, DetectorFamily
from slipway.convert.vision.matching import ObjectMatching


def outputs(seed: int = 0, queries: int = 20) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    logits = random.normal(0, 3, (queries, 4)).astype(np.float32)
    return {"logits": logits, "pred_boxes": random.uniform(0.2, 0.6, (queries, 4)).astype(np.float32)}


def shuffled(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    order = np.random.default_rng(9).permutation(len(arrays["logits"]))
    return {name: array[order] for name, array in arrays.items()}


def test_queries_that_are_chosen_by_score_are_put_in_the_order_of_the_reference():
    expected = outputs()
    aligned = ObjectMatching(DetectorFamily(SIGMOID, chooses=True)).aligned(shuffled(expected), expected)
    for name, array in aligned.items():
        np.testing.assert_array_equal(array, expected[name])


def test_learned_queries_keep_their_places():
    expected = outputs()
    other = shuffled(expected)
    assert ObjectMatching(DetectorFamily(SIGMOID)).aligned(other, expected) is other


@pytest.mark.parametrize("scores", [SIGMOID, SOFTMAX])
def test_all_objects_of_the_same_outputs_are_kept(scores):
    kept = ObjectMatching(DetectorFamily(scores)).kept(outputs(), outputs())
    assert kept.all()
    assert 5 < kept.size <= 20


def test_an_object_with_another_label_or_place_is_lost():
    expected, found = outputs(), outputs()
    sure = np.flatnonzero(1 / (1 + np.exp(-expected["logits"].max(-1))) >= 0.25)
    found["logits"][sure[0]] = np.roll(found["logits"][sure[0]], 1)
    found["pred_boxes"][sure[1], 0] += 0.2
    kept = ObjectMatching(DetectorFamily(SIGMOID)).kept(found, expected)
    assert kept.tolist() == [False, False, *[True] * (len(sure) - 2)]


def test_values_that_are_not_numbers_lose_their_objects():
    found = outputs()
    found["pred_boxes"][:] = np.nan
    matching = ObjectMatching(DetectorFamily(SIGMOID, chooses=True))
    assert not matching.kept(matching.aligned(found, outputs()), outputs()).any()


@pytest.mark.parametrize(("certainty", "nothing"), [(8.0, False), (-8.0, True)], ids=["objects", "no object"])
def test_a_reference_without_a_confident_object_is_noticed(certainty, nothing):
    row = outputs()
    row["logits"] = np.full_like(row["logits"], -9)
    row["logits"][3, 2] = certainty
    case = Case("a picture", {"pixel_values": np.zeros((1, 3, 4, 4), np.float32)}, ())
    assert no_results([Expectation(case, (row,))], ObjectMatching(DetectorFamily(SIGMOID))) == nothing
