"""The numeric gate: each criterion fails for its own reason, and reports by how much."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from slipway.convert.candidates.gate import expectations, judge, thresholds
from slipway.convert.candidates.subject import Case, Interface
from slipway.core.signature import TensorSpec
from slipway.errors import invalid

ROWS = 32
INTERFACE = Interface(
    (TensorSpec("x", "FP32", (-1,)),), (TensorSpec("y", "FP32", (4,)),), 16, pad_values={"x": 0}, compares_labels=True
)
WEIGHTS = np.array([[1.0, -0.5, 0.25, 0.75], [0.3, 0.9, -0.8, 0.1]], np.float32)


def network(inputs):
    """Return four numbers per row that padding with zeros does not change."""
    x = inputs["x"]
    return {"y": np.stack([x.sum(1), np.square(x).sum(1)], 1) @ WEIGHTS}


class Subject:
    """A subject whose reference is `network`."""

    interface = INTERFACE
    reference_name = "numpy"

    def cases(self):
        random = np.random.default_rng(0)
        batch = random.standard_normal((ROWS, 6)).astype(np.float32)
        batch[::2, 4:] = 0
        alone = tuple({"x": batch[row : row + 1, : 4 if row % 2 == 0 else 6]} for row in range(ROWS))
        return [Case("rows", {"x": batch}, alone), Case("one row", {"x": batch[:1]}, alone[:1])]

    def reference(self, alone):
        return network(alone)


def verdict(run, precision="fp32", **changes):
    subject = Subject()
    subject.interface = replace(INTERFACE, **changes)
    return judge(run, expectations(subject), precision, subject.interface)


def test_an_exact_candidate_passes_every_precision():
    for precision in ("fp32", "bf16", "fp16", "int8"):
        found = verdict(network, precision)
        assert found.passed
        assert found.figures.rows == ROWS + 1
        assert (found.figures.agreement, found.figures.cosine) == (1.0, pytest.approx(1.0))


def test_fp32_is_refused_with_the_difference_and_the_case():
    found = verdict(lambda inputs: {"y": network(inputs)["y"] + 0.5})
    assert not found.passed
    assert found.problems[0].startswith("it differs from the reference by ")
    assert "on rows (allowed: 0.0001)" in found.problems[0]


def test_a_difference_is_relative_where_outputs_are_large():
    def scaled(inputs):
        return {"y": network(inputs)["y"] * (1 + 5e-5)}

    assert verdict(scaled).passed
    assert not verdict(lambda inputs: {"y": network(inputs)["y"] * 1.001}).passed


def test_nan_never_passes():
    for precision in ("fp32", "int8"):
        assert not verdict(lambda inputs: {"y": network(inputs)["y"] * np.nan}, precision).passed


def test_an_answer_that_depends_on_its_batch_mates_is_refused():
    def batch_dependent(inputs):
        answer = network(inputs)["y"]
        return {"y": answer + (1e-2 if len(answer) == 1 and inputs["x"].shape[1] < 6 else 0)}

    assert verdict(network).passed
    assert any(
        "a row alone differs from the same row in a batch by 0.01 (allowed" in problem
        for problem in verdict(batch_dependent).problems
    )


def test_labels_that_change_are_refused_by_their_share():
    def swapped(inputs):
        answer = network(inputs)["y"].copy()
        answer[:4] = answer[:4, ::-1]
        return {"y": answer}

    problems = verdict(swapped, "int8").problems
    assert any(problem.startswith("its winning label matches the reference on ") for problem in problems)
    assert any("required: 99%" in problem for problem in problems)


def test_embeddings_of_int8_may_turn_further_than_logits():
    random = np.random.default_rng(1)

    def turned(inputs):
        answer = network(inputs)["y"]
        noise = random.standard_normal(answer.shape).astype(np.float32)
        noise *= 0.06 * np.linalg.norm(answer, axis=-1, keepdims=True) / np.linalg.norm(noise, axis=-1, keepdims=True)
        return {"y": answer + noise}

    embedding = {"compares_labels": False, "embeds": True}
    assert verdict(turned, "int8", **embedding).passed
    assert not verdict(turned, "bf16", **embedding).passed
    assert not verdict(turned, "int8", compares_labels=False).passed
    assert thresholds("int8", replace(INTERFACE, embeds=True)).cosine == 0.995


def test_a_score_of_one_element_is_compared_over_all_rows():
    class Scores(Subject):
        def reference(self, alone):
            return {"y": network(alone)["y"][:, :1]}

    def judged(noise):
        return judge(
            lambda inputs: {"y": network(inputs)["y"][:, :1] + noise}, expectations(Scores()), "bf16",
            replace(INTERFACE, compares_labels=False),
        )  # fmt: skip

    assert judged(0.001).passed
    assert not judged(1.0).passed


def test_a_candidate_that_fails_to_run_is_refused_with_its_error():
    def failing(inputs):
        if len(inputs["x"]) > 1:
            raise invalid("too many rows")
        return network(inputs)

    assert verdict(failing).problems == ("it fails on rows: too many rows",)


def test_a_candidate_of_another_shape_is_refused():
    found = verdict(lambda inputs: {"y": network(inputs)["y"][:, :3]})
    assert found.problems == ("output 'y' has shape [3], the reference has [4] on rows",)


def test_one_row_of_garbage_among_many_good_ones_is_refused():
    def spoiled(inputs):
        answer = network(inputs)["y"].copy()
        if len(answer) == ROWS:
            answer[5] = np.roll(answer[5], 1) * np.array([1, -1, 1, -1], np.float32)
        return {"y": answer}

    problems = verdict(spoiled, "int8", compares_labels=False, embeds=True).problems
    assert any("its worst row's cosine to the reference is" in problem for problem in problems)


def test_scores_that_hardly_differ_must_keep_their_order():
    class Scores(Subject):
        def reference(self, alone):
            return {"y": 0.5 + 0.01 * np.tanh(network(alone)["y"][:, :1])}

    expected = expectations(Scores())
    interface = replace(INTERFACE, compares_labels=False)
    assert judge(lambda inputs: Scores().reference(inputs), expected, "bf16", interface).passed
    constant = judge(lambda inputs: {"y": np.full((len(inputs["x"]), 1), 0.5)}, expected, "bf16", interface)
    assert not constant.passed


def test_scores_that_both_sides_mask_are_equal_in_every_precision():
    class Masked(Subject):
        def reference(self, alone):
            answer = network(alone)["y"].copy()
            answer[:, 1] = -np.inf
            return {"y": answer}

    expected = expectations(Masked())
    for precision in ("fp32", "bf16"):
        assert judge(lambda inputs: Masked().reference(inputs), expected, precision, INTERFACE).passed
        assert not judge(network, expected, precision, INTERFACE).passed


def test_a_score_that_is_nan_on_both_sides_does_not_excuse_the_others():
    class Scores(Subject):
        def reference(self, alone):
            scores = network(alone)["y"][:, :1]
            return {"y": np.where(scores == network(self.cases()[0].alone[3])["y"][0, 0], np.nan, scores)}

    expected = expectations(Scores())
    interface = replace(INTERFACE, compares_labels=False)
    assert judge(lambda inputs: Scores().reference(inputs), expected, "bf16", interface).passed
    shuffled = judge(lambda inputs: {"y": Scores().reference(inputs)["y"][::-1]}, expected, "bf16", interface)
    assert not shuffled.passed


@pytest.mark.parametrize("spoiled", ["y", "z"])
def test_nan_in_one_of_several_outputs_is_refused_whichever_comes_first(spoiled):
    class Two(Subject):
        def reference(self, alone):
            return {"y": network(alone)["y"], "z": network(alone)["y"]}

    def run(inputs):
        return {name: array * (np.nan if name == spoiled else 1) for name, array in Two().reference(inputs).items()}

    for precision in ("fp32", "bf16", "int8"):
        assert not judge(run, expectations(Two()), precision, replace(INTERFACE, compares_labels=False)).passed


EMBEDDING = {"compares_labels": False, "embeds": True}


class Texts(Subject):
    """A subject whose rows are texts with a vector each, all in one direction but for a little."""

    def cases(self):
        return [replace(each, texts=True) for each in super().cases()[:1]]

    def reference(self, alone):
        vectors = network(alone)["y"]
        return {"y": 10 + vectors / np.linalg.norm(vectors, axis=1, keepdims=True)}


def judged(run, precision="int8", accuracy="balanced"):
    subject = Texts()
    return judge(run, expectations(subject), precision, replace(INTERFACE, **EMBEDDING), accuracy)


def shifted(inputs):
    answer = Texts().reference(inputs)["y"].copy()
    answer[3:6] = answer[[10, 11, 12]] + 0.01 if len(answer) == ROWS else answer[3:6]
    return {"y": answer}


def test_embeddings_whose_nearest_neighbours_change_are_refused_although_their_directions_hardly_do():
    found = judged(shifted)
    assert found.figures.cosine > 0.999
    assert found.figures.texts == ROWS
    assert found.figures.neighbours < 0.99
    assert [each for each in found.problems if "the nearest neighbour is the reference's for" in each]
    assert judged(lambda inputs: Texts().reference(inputs)).passed


def test_one_word_chooses_how_strict_the_gate_is():
    strict = [thresholds("int8", replace(INTERFACE, embeds=True), word) for word in ("fast", "balanced", "high")]
    for criterion in ("cosine", "worst_cosine", "neighbours", "agreement"):
        values = [getattr(each, criterion) for each in strict]
        assert values == sorted(values)
        assert len(set(values)) == 3
    assert thresholds("int8", replace(INTERFACE, embeds=True)) == strict[1]
    assert thresholds("fp32", INTERFACE, "fast") == thresholds("fp32", INTERFACE, "high")


def test_the_worst_row_is_named():
    def spoiled(inputs):
        answer = network(inputs)["y"].copy()
        answer[5:6] += 0.4 if len(answer) == ROWS else 0.0
        return {"y": answer}

    assert verdict(spoiled, "int8", **EMBEDDING).figures.worst_row == "rows, row 5"
