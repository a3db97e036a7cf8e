"""Charts of a page: parts that the detector found separately are joined, and a chart takes in its title.

Boxes are in parts of the page. A chart without a title grows more, because its axes and legend are often cut off.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from slipway.documents.boxes import Boxes, areas, enclosing, enlarged, overlaps

_LEAST_OVERLAP: Final = 0.01
_NEAR: Final = 0.1  # of the page
_GROWTH_WITH_TITLE: Final = (1.05, 1.10)  # across, down
_GROWTH_ALONE: Final = (1.10, 1.25)


def expanded_charts(charts: NDArray[np.float64], titles: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return charts [n, 5] joined, with their titles, and enlarged; the titles [m, 5] themselves remain titles.

    From the best chart on, a chart takes all titles that overlap it by more than 0.01 or else the nearest one, closer
    than a tenth of the page; no two charts take the same.
    """
    joined = joined_boxes(charts)
    free = joined_boxes(titles)[:, :4]
    for chart in joined:
        taken = _titles_of(chart[:4], free)
        growth = _GROWTH_WITH_TITLE if len(taken) else _GROWTH_ALONE
        chart[:4] = enlarged(enclosing(np.vstack([chart[None, :4], free[taken]])), *growth)
        free = np.delete(free, taken, axis=0)
    return joined


def joined_boxes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return rows [n, 5] with every box joined to the one it overlaps most, if by more than 0.01, best score first.

    A joined box encloses its parts and has the highest of their scores. Boxes without an area are left out. This is
    weighted boxes fusion (Solovyev et al. 2021) that keeps the outline instead of the weighted mean.
    """
    rows = rows[areas(rows[:, :4]) > 0]
    group = np.arange(len(rows))
    for number, row in enumerate(rows):
        with_others = overlaps(rows[:, :4], row[:4])
        with_others[number] = 0
        partner = int(with_others.argmax())
        if with_others[partner] > _LEAST_OVERLAP:
            both = (group == group[partner]) | (group == group[number])
            group[both] = group[both].min()
    groups = [rows[group == each] for each in np.unique(group)]
    joined = [np.append(enclosing(each[:, :4]), each[:, 4].max()) for each in groups]
    found = np.array(joined).reshape(-1, 5)
    return found[np.argsort(-found[:, 4], kind="stable")]


def _titles_of(chart: Boxes, titles: Boxes) -> NDArray[np.intp]:
    """Return which titles belong to a chart.

    The distance is that of the nearer edges above or below, plus that of the left edges."""
    if not len(titles):
        return np.zeros(0, np.intp)
    touching = np.flatnonzero(overlaps(titles, chart) > _LEAST_OVERLAP)
    if len(touching):
        return touching
    above = np.abs(titles[:, 3] - chart[1])
    below = np.abs(chart[3] - titles[:, 1])
    distance = np.minimum(above, below) + np.abs(titles[:, 0] - chart[0])
    nearest = int(distance.argmin())
    return np.array([nearest] if distance[nearest] < _NEAR else [], np.intp)
