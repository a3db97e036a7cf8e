"""The dashboard: every query is PromQL, and every metric and label in it is one that the server reports."""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Iterator

import promql_parser
import pytest

from tests.deploy.test_image import DEPLOY

DASHBOARD = json.loads((DEPLOY / "helm" / "slipway" / "dashboards" / "slipway.json").read_text())
GIVEN_BY_PROMETHEUS = {"job", "instance"}
VARIABLES = {each["name"]: each for each in DASHBOARD["templating"]["list"]}
LEFT_OUT = {  # what the server reports and the dashboard does not show
    "nv_pinned_memory_pool_total_bytes": "always 0 here",
    "nv_pinned_memory_pool_used_bytes": "always 0 here",
    "nv_cache_num_hits": "shown per model",
    "nv_cache_num_misses": "shown per model",
    "nv_cache_insertion_duration": "part of the time of a miss",
    "nv_inference_request_duration_us": "shown as a histogram",
    "input_byte_size_counter": "only of the backend identity",
}
_SAMPLE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})? \S+")
_LABEL_VALUES = re.compile(r"label_values\((?P<selector>.+), (?P<label>\w+)\)")


def panels() -> list[dict]:
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def queries() -> Iterator[tuple[str, str]]:
    """Yield where each query stands, and the query with Grafana's variables replaced."""
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for name, variable in VARIABLES.items():
        if variable["type"] == "query":
            found = _LABEL_VALUES.fullmatch(variable["query"]["query"])
            yield f"${name}", f"count by ({found['label']}) ({found['selector']})"


def parsed(query: str) -> promql_parser.Expr:
    return promql_parser.parse(re.sub(r"\$__rate_interval", "1m", query))


def parts(node: object) -> Iterator[object]:
    """Yield an expression and all expressions in it."""
    yield node
    for name in ("lhs", "rhs", "expr", "vector_selector", "param"):
        part = getattr(node, name, None)
        if isinstance(part, promql_parser.Expr) or type(part).__module__.startswith("promql_parser"):
            yield from parts(part)
    for part in getattr(node, "args", None) or ():
        yield from parts(part)


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    return [part for part in parts(parsed(query)) if isinstance(part, promql_parser.VectorSelector)]


@pytest.fixture(scope="module")
def page(measured) -> list[str]:
    """The lines of the metrics of a server that reports every family."""
    with urllib.request.urlopen(f"http://{measured.metrics}/metrics", timeout=20) as response:
        return response.read().decode().splitlines()


@pytest.fixture(scope="module")
def reported(page) -> dict[str, set[str]]:
    """The labels of every metric."""
    found: dict[str, set[str]] = {}
    for sample in (_SAMPLE.fullmatch(line) for line in page if not line.startswith("#")):
        found.setdefault(sample["name"], set()).update(re.findall(r'(\w+)="', sample["labels"] or ""))
    return found


@pytest.fixture(scope="module")
def kinds(page) -> dict[str, str]:
    """The kind of every family."""
    return dict(line.split()[2:] for line in page if line.startswith("# TYPE "))


def test_every_query_has_only_metrics_that_the_server_reports(reported):
    used = {each.name: where for where, query in queries() for each in selectors(query)}
    assert len(used) > 20
    assert {name: where for name, where in used.items() if name not in {*reported, "up"}} == {}


def test_every_query_matches_and_groups_by_labels_that_its_metric_has(reported):
    for where, query in queries():
        for selector in selectors(query):
            labels = reported.get(selector.name, set()) | GIVEN_BY_PROMETHEUS
            assert {matcher.name for matcher in selector.matchers.matchers} <= labels, (where, selector.name)
        for part in parts(parsed(query)):
            if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
                for selector in selectors(part.prettify()):
                    labels = reported.get(selector.name, set()) | GIVEN_BY_PROMETHEUS
                    assert set(part.modifier.labels) <= labels, (where, selector.name)


def test_a_legend_names_labels_that_the_query_keeps():
    for panel in panels():
        for target in panel["targets"]:
            used = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            kept = re.findall(r"by \(([^)]*)\)", target["expr"])
            available = {name.strip() for names in kept for name in names.split(",")} if kept else GIVEN_BY_PROMETHEUS
            assert used <= available, (panel["title"], target["legendFormat"])


def test_what_grows_is_shown_as_a_rate_and_a_bucket_as_a_quantile(kinds):
    for where, query in queries():
        ranges = [
            part.vector_selector for part in parts(parsed(query)) if isinstance(part, promql_parser.MatrixSelector)
        ]
        for selector in selectors(query):
            kind = kinds.get(_family(selector.name, kinds), "gauge")
            if where.startswith("$") or kind == "gauge":
                continue
            assert selector.name in {each.name for each in ranges}, (where, selector.name)
            assert (kind == "histogram") == query.startswith("histogram_quantile("), (where, selector.name)


def test_every_family_of_metrics_is_shown_or_left_out_for_a_reason(kinds):
    shown = {_family(selector.name, kinds) for _, query in queries() for selector in selectors(query)}
    families = {name for name, kind in kinds.items() if kind != "summary"}  # summaries have what histograms have
    assert families - shown == LEFT_OUT.keys()


def _family(name: str, kinds: dict[str, str]) -> str:
    return name if name in kinds else re.sub(r"_(bucket|count|sum)$", "", name)


def test_every_variable_in_a_query_is_one_of_the_dashboard():
    texts = [query for _, query in queries()]
    used = {name for text in texts for name in re.findall(r"\$(\w+)", text)} - {"__rate_interval"}
    assert used == VARIABLES.keys() - {"datasource"}
    assert {target["datasource"]["uid"] for panel in panels() for target in panel["targets"]} == {"${datasource}"}


def test_every_panel_has_its_own_place_and_number():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        taken |= cells
