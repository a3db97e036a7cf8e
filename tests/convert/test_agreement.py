"""How ids are counted that differ from the reference, below float32 and in it."""

from __future__ import annotations

import pytest

from slipway.convert.agreement import AgreementCount, Generated, disagreements

IDS = (4, 5, 6, 7)
# At the third token, 9 is almost as likely as 6, and 8 is less so.
EXPECTED = Generated(
    IDS, tuple(frozenset({each}) for each in IDS), behind=({4: 0.0}, {5: 0.0}, {6: 0.0, 9: 0.1, 8: 0.6}, {})
)


def counted(found, margin=0.2, **options):
    count = AgreementCount(margin, **options)
    count.add("a row", EXPECTED, found, 0.0)
    return count.result()


def test_a_row_counts_up_to_a_token_that_is_almost_as_likely():
    found = counted([4, 5, 9, 1])
    assert (found.near, found.excused, found.same_rows, found.different) == (1, 2, 0, 1)
    assert (found.share, found.counted) == (0.5, 1.0)


@pytest.mark.parametrize(("only_choices", "share"), [(False, 0.5), (True, 2 / 3)])
def test_another_token_counts_as_wrong_with_or_without_what_follows(only_choices, share):
    found = counted([4, 5, 8, 1], only_choices=only_choices)
    assert found.near == 0
    assert found.counted == pytest.approx(share)


def test_the_margin_is_that_of_the_precision_and_a_token_that_is_not_near_has_none():
    assert counted([4, 5, 8, 7], margin=1.0).near == 1
    assert counted([4, 5, 3, 7], margin=1.0).near == 0
    assert counted([4, 5], margin=1.0).near == 0  # it ended where no end was expected


def test_float32_does_not_know_near_ties():
    found = counted([4, 5, 9, 7], margin=0.0)
    (problem,) = disagreements(found, "fp32", 0.9, reference="transformers", searched="")
    assert problem.endswith("a row, token 2: 9 instead of 6")


def test_first_tokens_are_counted_by_themselves():
    count = AgreementCount(0.2)
    for found in ([4, 8, 8, 8], [3, 5, 6, 7], list(IDS)):
        count.add("a row", EXPECTED, found, 0.0)
    assert count.result().first_share == pytest.approx(2 / 3)
