"""The detector's output becomes rows per label, the same as a plain loop over boxes makes of it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slipway.documents.boxes import MOST_COMPARED
from slipway.documents.charts import joined_boxes
from slipway.documents.detection import LABELS, MOST_ROWS, DetectionRules, decoded_grid, page_elements
from slipway.errors import Code, SlipwayError

ROWS = 21_504
SIZE = (1024, 1024)


def output(*rows, empty=0):
    """Return a model's output for one page: the rows, and rows without an object."""
    return np.array([[*rows, *[[0.0] * 8] * empty]], np.float32).reshape(1, -1, 8)


def row(box, score, label):
    """Return a row of the output for corners in pixels, a score and a label's number."""
    x1, y1, x2, y2 = box
    classes = [0.0] * 3
    classes[label] = score
    return [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1, 1.0, *classes]


def plain_overlap(one, other):
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    shared = max(wide, 0) * max(high, 0)
    total = sum(max(box[2] - box[0], 0) * max(box[3] - box[1], 0) for box in (one, other)) - shared
    return shared / total if total > 0 else 0.0


def plain_join(rows):
    """Return rows joined with the row they overlap most, as sets that grow."""
    groups = [{number} for number in range(len(rows))]
    for number, one in enumerate(rows):
        found = [0.0 if other is one else plain_overlap(one, other) for other in rows]
        if found and max(found) > 0.01:
            partner = found.index(max(found))
            mine = next(group for group in groups if number in group)
            theirs = next(group for group in groups if partner in group)
            if mine is not theirs:
                groups.remove(theirs)
                mine |= theirs
    joined = []
    for group in sorted(groups, key=min):
        parts = [rows[number] for number in group]
        corners = [min(part[0] for part in parts), min(part[1] for part in parts)]
        corners += [max(part[2] for part in parts), max(part[3] for part in parts)]
        joined.append([*corners, max(part[4] for part in parts)])
    return sorted(joined, key=lambda each: -each[4])


def plain_charts(charts, titles):
    charts, titles = ([each for each in rows if each[0] < each[2] and each[1] < each[3]] for rows in (charts, titles))
    charts, titles = plain_join(charts), plain_join(titles)
    found = []
    for chart in charts:
        mine = [title for title in titles if plain_overlap(title, chart) > 0.01]
        if not mine and titles:
            near = [
                min(abs(title[3] - chart[1]), abs(chart[3] - title[1])) + abs(title[0] - chart[0]) for title in titles
            ]
            if min(near) < 0.1:
                mine = [titles[near.index(min(near))]]
        titles = [title for title in titles if not any(title is each for each in mine)]
        parts = [chart, *mine]
        x1, y1 = min(part[0] for part in parts), min(part[1] for part in parts)
        x2, y2 = max(part[2] for part in parts), max(part[3] for part in parts)
        across, down = (1.05, 1.10) if mine else (1.10, 1.25)
        wide, high = (x2 - x1) / 2 * across, (y2 - y1) / 2 * down
        x, y = (x1 + x2) / 2, (y1 + y2) / 2
        corners = [x - wide, y - high, x + wide, y + high]
        found.append([*(round(min(max(each, 0), 1), 4) for each in corners), round(chart[4], 4)])
    return found


def plain_page(rows, height, width):
    """Return what the contract says about one page, box by box."""
    boxes = []
    for x, y, wide, high, thing, *classes in rows:
        if thing * max(classes) >= 0.48:
            score = thing * max(classes)
            boxes.append(([x - wide / 2, y - high / 2, x + wide / 2, y + high / 2], score, classes.index(max(classes))))
    boxes.sort(key=lambda each: -each[1])
    kept = []
    for each in boxes:
        if all(plain_overlap(each[0], better[0]) <= 0.5 for better in kept):
            kept.append(each)
    scale = min(1024 / height, 1024 / width)
    found = {label: [] for label in LABELS}
    for box, score, label in kept:
        sides = (width, height, width, height)
        x1, y1, x2, y2 = (min(max(value / scale / side, 0), 1) for value, side in zip(box, sides, strict=True))
        if x1 >= x2 or y1 >= y2:
            continue
        if LABELS[label] == "table":
            y1 = max(y1 - 0.2 * (y2 - y1), 0)
        found[LABELS[label]].append([round(value, 4) for value in (x1, y1, x2, y2, score)])
    found["chart"] = plain_charts(found["chart"], found["title"])
    return found


COORDINATE = st.integers(-40, 1064)
ROW = st.tuples(
    COORDINATE,
    COORDINATE,
    st.integers(0, 500),
    st.integers(0, 500),
    st.sampled_from([0.25, 0.75, 1.0]),
    *[st.integers(0, 64).map(lambda part: part / 64)] * 3,
)


@given(st.lists(ROW, max_size=30), st.sampled_from([(1024, 1024), (512, 1024), (1536, 768), (64, 256)]))
@settings(max_examples=300)
def test_a_page_equals_the_plain_loop(rows, size):
    [found] = page_elements(np.array(rows, np.float32).reshape(1, -1, 8), [size])
    plain = plain_page(rows, *size)
    for label in LABELS:
        assert found[label].shape == (len(plain[label]), 5)
        # numpy and Python may round a half in the fourth decimal to either side, which a chart's growth makes larger
        assert np.allclose(found[label], np.array(plain[label]).reshape(-1, 5), rtol=0, atol=2.1e-4)


@pytest.mark.capability("3.17")
def test_decoding_suppression_and_rounding_of_a_page():
    elements = page_elements(
        output(
            row((100, 200, 500, 400), 0.9, 0),  # a table, and the same one less certain, as a chart
            row((104, 204, 504, 400), 0.8, 1),
            row((600, 700, 700, 733), 0.61803, 2),
            row((0, 900, 50, 1000), 0.47, 0),  # not certain enough
            empty=ROWS - 4,
        ),
        [(2048, 1024)],  # a half of the input's width is padding
    )
    assert len(elements) == 1
    assert elements[0]["table"].tolist() == [[0.1953, 0.1562, 0.9766, 0.3906, 0.9]]
    assert elements[0]["chart"].tolist() == []
    assert elements[0]["title"].tolist() == []  # beside the page, in the padding


def test_values_have_four_decimals():
    [elements] = page_elements(output(row((100, 700, 733, 777), 0.61803, 2)), [SIZE])
    assert elements["title"].tolist() == [[0.0977, 0.6836, 0.7158, 0.7588, 0.618]]


def test_the_threshold_itself_is_enough():
    rules = DetectionRules(least_product=0.5)
    [elements] = page_elements(output(row((0, 0, 9, 9), 0.5, 2), row((50, 50, 59, 59), 0.49, 2)), [SIZE], rules)
    assert len(elements["title"]) == 1


def test_boxes_that_overlap_by_exactly_half_remain():
    exact = output(row((0, 0, 30, 10), 0.9, 0), row((10, 0, 40, 10), 0.8, 2))
    assert [len(page_elements(exact, [SIZE])[0][label]) for label in ("table", "title")] == [1, 1]
    more = output(row((0, 0, 30, 10), 0.9, 0), row((9, 0, 39, 10), 0.8, 2))
    assert [len(page_elements(more, [SIZE])[0][label]) for label in ("table", "title")] == [1, 0]


def test_a_table_at_the_top_reaches_to_the_edge():
    [elements] = page_elements(output(row((0, 51.2, 1024, 1024), 0.75, 0)), [SIZE])
    assert elements["table"].tolist() == [[0, 0, 1, 1, 0.75]]


def test_boxes_are_cut_at_the_edges_of_the_page():
    [elements] = page_elements(output(row((-100, 512, 256, 2000), 0.75, 2)), [SIZE])
    assert elements["title"].tolist() == [[0, 0.5, 0.25, 1, 0.75]]


def test_a_chart_takes_the_title_above_it_and_the_title_remains():
    rows = output(row((256, 256, 768, 512), 0.75, 1), row((256, 200, 512, 240), 0.5, 2))
    [elements] = page_elements(rows, [SIZE])
    assert elements["chart"].tolist() == [[0.2375, 0.1801, 0.7625, 0.5152, 0.75]]
    assert elements["title"].tolist() == [[0.25, 0.1953, 0.5, 0.2344, 0.5]]


def test_a_chart_without_a_title_grows_more():
    [elements] = page_elements(output(row((256, 256, 768, 512), 0.75, 1)), [SIZE])
    assert elements["chart"].tolist() == [[0.225, 0.2188, 0.775, 0.5312, 0.75]]


def test_parts_of_a_chart_are_joined_with_the_best_score():
    [elements] = page_elements(output(row((256, 256, 544, 512), 0.75, 1), row((480, 256, 768, 512), 0.875, 1)), [SIZE])
    assert elements["chart"].tolist() == [[0.225, 0.2188, 0.775, 0.5312, 0.875]]


def test_parts_that_are_joined_through_others_are_one_chart():
    places = (4, 15, 9, 0)  # each overlaps its neighbours, by less and less to the right; best score first
    scores = (0.9, 0.8, 0.7, 0.6)
    parts = np.array([[x / 100, 0.1, (x + 10) / 100, 0.2, score] for x, score in zip(places, scores, strict=True)])
    assert joined_boxes(parts).tolist() == [[0, 0.1, 0.25, 0.2, 0.9]]


def test_a_title_belongs_to_one_chart():
    rows = output(row((0, 300, 400, 500), 0.9, 1), row((0, 100, 400, 240), 0.75, 1), row((0, 250, 200, 290), 0.6, 2))
    [elements] = page_elements(rows, [SIZE])
    heights = (elements["chart"][:, 3] - elements["chart"][:, 1]) * 1024
    assert heights.round().tolist() == [275, 175]  # 250 x 1.10 with the title, 140 x 1.25 without


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", range(8))
def test_a_row_that_is_not_finite_is_left_out(value, column):
    rows = output(row((0, 0, 90, 90), 0.75, 2), row((500, 500, 600, 600), 0.75, 2))
    rows[0, 0, column] = value
    [elements] = page_elements(rows, [SIZE])
    assert [len(elements[label]) for label in LABELS] == [0, 0, 1]


def test_half_precision_and_huge_boxes_are_read():
    rows = output(row((0, 0, 90, 90), 0.75, 2)).astype(np.float16)
    assert len(page_elements(rows, [SIZE])[0]["title"]) == 1
    rows = output([0, 0, 3e38, 3e38, 1, 0, 0, 1])
    assert page_elements(rows, [SIZE])[0]["title"].tolist() == [[0, 0, 1, 1, 1]]


def test_pages_of_a_batch_are_independent():
    rows = np.concatenate([output(row((0, 0, 90, 90), 0.75, label)) for label in range(3)])
    sizes = [(1024, 1024), (512, 256), (100, 1000)]
    together = page_elements(rows, sizes)
    for number, size in enumerate(sizes):
        [alone] = page_elements(rows[number : number + 1], [size])
        assert all((alone[label] == together[number][label]).all() for label in LABELS)


def test_a_page_of_many_separate_boxes_keeps_the_best():
    corners = [(x, y) for y in range(0, 1000, 20) for x in range(0, 1000, 20)]
    scores = np.linspace(0.5, 1, len(corners))
    rows = output(*(row((x, y, x + 10, y + 10), score, 2) for (x, y), score in zip(corners, scores, strict=True)))
    [elements] = page_elements(rows, [SIZE])
    assert len(elements["title"]) == 512
    assert elements["title"][:, 4].min() == pytest.approx(scores[-512], abs=1e-4)


@pytest.mark.parametrize(("better", "elements"), [(MOST_COMPARED - 1, 2), (MOST_COMPARED, 1)])
def test_only_the_best_rows_are_compared(better, elements):
    same, apart = row((0, 0, 90, 90), 0.75, 2), row((500, 500, 590, 590), 0.5, 2)
    [found] = page_elements(output(apart, *[same] * better), [SIZE])
    assert len(found["title"]) == elements


def test_other_labels_have_no_rules_of_their_own():
    rows = np.array([[[100, 100, 50, 50, 1, 0.25, 0.75]]], np.float32)
    [elements] = page_elements(rows, [SIZE], DetectionRules(labels=("formula", "figure")))
    assert elements["formula"].tolist() == []
    assert elements["figure"].tolist() == [[0.0732, 0.0732, 0.1221, 0.1221, 0.75]]


def test_a_page_without_rows_has_no_elements():
    [elements] = page_elements(np.zeros((1, 0, 8), np.float32), [SIZE])
    assert all(elements[label].shape == (0, 5) for label in LABELS)
    assert page_elements(np.zeros((0, 4, 8), np.float32), []) == []


@pytest.mark.parametrize(
    ("given_output", "sizes", "message"),
    [
        (np.zeros((1, 4, 9), np.float32), [SIZE], r"float32 \[1, 4, 9\], expected floating point \[pages, rows, 8\]"),
        (np.zeros((4, 8), np.float32), [SIZE], r"float32 \[4, 8\]"),
        (np.zeros((1, 4, 8), np.int64), [SIZE], "int64"),
        (np.zeros((2, 4, 8), np.float32), [SIZE], "it has 2 pages, and there are 1 page sizes"),
        (np.zeros((1, 4, 8), np.float32), [(0, 5)], "expected at least 1 x 1"),
        (np.zeros((1, MOST_ROWS + 1, 8), np.float16), [SIZE], "65537 rows per page; the limit is 65536"),
    ],
    ids=["classes", "axes", "type", "pages", "size", "rows"],
)
def test_an_output_that_does_not_fit_is_refused(given_output, sizes, message):
    with pytest.raises(SlipwayError, match=message) as caught:
        page_elements(given_output, sizes)
    assert caught.value.code is Code.INVALID_ARG


def test_rules_outside_their_range_are_refused_together():
    with pytest.raises(SlipwayError, match=r"least_product is 2, .*most is 0, .*labels are \['a', 'a'\]"):
        DetectionRules(labels=("a", "a"), least_product=2, most=0)


def test_an_undecoded_head_is_decoded_on_its_three_grids():
    raw = np.zeros((1, ROWS, 8), np.float32)
    raw[0, :, 5] = 0.5
    raw[0, 128 + 2, :4] = (0.5, 0.25, np.log(4), np.log(2))  # row 1, column 2 of the grid of stride 8
    decoded = decoded_grid(raw)
    assert decoded.dtype == np.float32
    assert decoded[0, 130, :4] == pytest.approx([20, 10, 32, 16])
    assert decoded[0, 128 * 128 + 64 + 1].tolist() == [16, 16, 16, 16, 0, 0.5, 0, 0]  # the grid of stride 16
    assert decoded[0, -1, :4].tolist() == [31 * 32, 31 * 32, 32, 32]
    assert raw[0, -1, 0] == 0, "the input remains"


def test_a_width_that_overflows_is_not_an_element():
    raw = np.zeros((1, ROWS, 8), np.float32)
    raw[0, 7] = (0, 0, 1000, 0, 1, 0, 0, 1)
    [elements] = page_elements(decoded_grid(raw), [SIZE])
    assert elements["title"].tolist() == []


def test_rows_that_are_not_those_of_the_grids_are_refused():
    with pytest.raises(SlipwayError, match=r"expected \[pages, 21504, 5 \+ classes\]"):
        decoded_grid(np.zeros((1, 100, 8), np.float32))
