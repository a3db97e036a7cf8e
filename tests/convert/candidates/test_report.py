"""What the last lines of a conversion say was lost."""

from __future__ import annotations

from dataclasses import replace

from slipway.convert.candidates.gate import Figures
from slipway.convert.candidates.report import COLUMNS
from slipway.convert.report import Candidate
from slipway.convert.thresholds import Thresholds
from slipway.convert.variants import Variant

FIGURES = Figures(
    rows=150, agreement=0.996, cosine=0.9987, worst_cosine=0.931, worst_row="sample text 0-15, row 3", texts=103,
    neighbours=0.9903, results=150,
)  # fmt: skip


def lost(precision: str, criteria: Thresholds, figures: Figures = FIGURES) -> str:
    return COLUMNS.lost(Candidate(Variant("openvino", precision), criteria=criteria, figures=figures))


def test_an_embedding_says_how_many_neighbours_it_kept_and_its_worst_row():
    assert lost("int8", Thresholds(cosine=0.995, neighbours=0.99)) == (
        "99.0% of 103 sample texts keep their nearest neighbour; cosine to the source 0.9987, 0.9310 on the worst row "
        "(sample text 0-15, row 3)"
    )


def test_a_classifier_says_how_many_labels_it_kept():
    assert lost("bf16", Thresholds(agreement=0.99, cosine=0.999)).startswith("99.6% of 150 rows keep their label; ")


def test_a_detector_says_how_many_objects_it_still_finds_and_nothing_if_there_were_none():
    criteria = Thresholds(agreement=0.99, cosine=0.999)
    detected = replace(FIGURES, matched=True, results=40)
    assert lost("bf16", criteria, detected).startswith("99.6% of 40 objects are found; cosine")
    nothing = replace(FIGURES, matched=True, results=0, agreement=1.0)
    assert lost("bf16", criteria, nothing).startswith("cosine to the source")
    assert COLUMNS.cells(Candidate(Variant("openvino", "bf16"), criteria=criteria, figures=nothing))[1] == ""


def test_fp32_lost_nothing():
    assert lost("fp32", Thresholds(difference=1e-4)) == ""
