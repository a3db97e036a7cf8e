"""The documents example: its pages are where they say, its compose file is valid, and its script runs to the end."""

from __future__ import annotations

import importlib
import json
import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from slipway.documents.detection import decoded_grid
from tests.kits.compose_files import filled

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "documents"
MODULES = ("layouts", "rendering", "detector", "train_detector", "judge", "drawing")
COMPOSE = EXAMPLE / "docker-compose.yaml"
SETTINGS = {
    "ECLAIR_CHECKPOINT_DIR": "/data/checkpoints",
    "ECLAIR_CHECKPOINT_NAME": "best",
    "ECLAIR_MODEL_DIR": "/data/models",
    "ECLAIR_BATCH_SIZE": "4",
}


@pytest.fixture
def modules(monkeypatch):
    """The example's modules by name, which find each other as they do when a script in their folder runs."""
    monkeypatch.syspath_prepend(str(EXAMPLE))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        sys.modules.pop(name)


def pixels_of(page, box):
    """Return the part of a rendered page in a box."""
    height, width = page.shape[:2]
    x1, y1, x2, y2 = box
    return page[int(y1 * height) : int(np.ceil(y2 * height)), int(x1 * width) : int(np.ceil(x2 * width))]


def test_everything_on_the_report_is_in_its_box(modules, tmp_path):
    path = tmp_path / "report.pdf"
    known = modules["layouts"].report_pages(path)
    pages = list(modules["rendering"].rendered(path, 150))
    assert [page.shape for page in pages] == [(1651, 1275, 3)] * 2
    for page, drawn in zip(pages, known, strict=True):
        rest = page.copy()
        for each in drawn:
            assert (pixels_of(page, each.box) < 128).any(), each
            pixels_of(rest, each.box)[:] = 255
        ink = (page < 200).any(-1).sum()
        assert (rest < 200).any(-1).sum() < 0.06 * ink  # descenders and the names of an axis


def test_made_up_pages_are_different_and_the_same_again(modules, tmp_path):
    make = modules["layouts"].random_pages
    first, again, other = (make(tmp_path / f"{number}.pdf", 3, seed) for number, seed in enumerate((5, 5, 6)))
    assert first == again != other
    assert {each.kind for page in first + other for each in page} >= {"title", "table", "chart", "paragraph"}
    for each in (each for page in first + other for each in page):
        x1, y1, x2, y2 = each.box
        assert 0 <= x1 < x2 <= 1
        assert 0 <= y1 < y2 <= 1


def test_the_titles_of_the_report_are_of_the_kind_that_the_detector_learns(modules, tmp_path):
    least, most = modules["layouts"].TITLE_WORDS
    pages = modules["layouts"].report_pages(tmp_path / "report.pdf")
    titles = [each.text for page in pages for each in page if each.kind == "title"]
    assert len(titles) == 4
    assert [title for title in titles if not least <= len(title.split()) <= most] == []


def test_where_the_example_writes_is_where_the_settings_of_compose_look():
    script = (EXAMPLE / "run.sh").read_text()
    own = own_settings()
    assert "WORK_DIR=${WORK_DIR:-$EXAMPLE/work}" in script
    assert own["ECLAIR_CHECKPOINT_DIR"] == "./work/checkpoints"
    assert own["ECLAIR_MODEL_DIR"] == "./work/models"
    assert f'"${{CHECKPOINTS}}/{own["ECLAIR_CHECKPOINT_NAME"]}"' in script


def test_the_detectors_grid_is_that_of_yolox(modules):
    import torch

    network = modules["detector"].Detector().eval()
    with torch.no_grad():
        pixels = torch.rand(1, 3, 1024, 1024) * 255
        rows, found = network.rows(pixels), network(pixels)
    raw = torch.cat([rows[:, :, :4], rows[:, :, 4:].sigmoid()], 2).numpy()
    np.testing.assert_allclose(found.numpy(), decoded_grid(raw), rtol=1e-4, atol=1e-3)
    assert found.shape == (1, 21_504, 8)


def test_cells_near_the_centre_of_an_element_claim_it(modules):
    drawn = [
        modules["layouts"].Drawn("table", (0.25, 0.25, 0.75, 0.475), ""),
        modules["layouts"].Drawn("paragraph", (0.1, 0.6, 0.9, 0.7), ""),
    ]
    network = modules["detector"].Detector()
    claims, boxes, classes = modules["train_detector"].targets(drawn, network.cells.numpy(), network.strides.numpy())
    wide = 1024 * 612 / 792
    assert claims.sum() == len(boxes) == 9
    assert set(classes.tolist()) == {0}
    np.testing.assert_allclose(boxes, np.tile([wide / 2, 371.2, wide / 2, 230.4], (9, 1)), rtol=1e-5)
    assert set(network.strides.numpy()[claims].ravel().tolist()) == {32.0}


def test_the_judge_names_what_is_missing(modules, tmp_path):
    known = [
        {"kind": "title", "box": [0.1, 0.05, 0.5, 0.08], "text": "Villages"},
        {"kind": "table", "box": [0.1, 0.3, 0.9, 0.6], "text": "A & B"},
    ]
    expected = modules["judge"].expected_elements(known)
    right = {
        "elements": {label: rows.tolist() for label, rows in expected.items()},
        "texts": [{"text": "Villages"}, {"text": "A & B"}],
        "captions": [],
    }
    assert modules["judge"].problems_of(known, right) == []
    wrong = {"elements": {**right["elements"], "table": []}, "texts": [{"text": "A & B"}], "captions": []}
    problems = modules["judge"].problems_of(known, wrong)
    assert problems == [
        "0 of label table found, expected 1",
        "a table overlaps with what was found by 0.00, required 0.8",
        "the text 'Villages' was not read",
    ]


def test_labels_lie_beside_the_page_and_hide_nothing_on_it(modules):
    page = np.full((1100, 850, 3), 255, np.uint8)
    row = [0.1, 0.5, 0.6, 0.9, 0.75]
    elements = {"table": [], "chart": [row], "title": [[*row[:4], 0.5]]}
    found = SimpleNamespace(elements=elements, texts=(), captions=["Figure 1: " + "x " * 40])
    drawn = np.asarray(modules["drawing"].drawn_page(page, found))
    assert (drawn[:, 850:] < 255).any(-1).sum() > 1000
    inside = drawn[:, :850].copy()
    inside[545:995, 80:515] = 255  # the box with its outline
    assert (inside == 255).all()
    assert (drawn[560:980, 100:500] == 255).all()


def own_settings():
    """Return the settings in the example's .env."""
    lines = (EXAMPLE / ".env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def compose(settings):
    return filled(yaml.safe_load(COMPOSE.read_text()), settings)["services"]


@pytest.mark.capability("3.20")
def test_the_builder_runs_once_before_the_server_and_gets_the_settings():
    services = compose(SETTINGS)
    builder, server = services["build-eclair"], services["triton-eclair"]
    assert builder["restart"] == "no"
    assert builder["command"] == ["build-eclair"]
    assert server["depends_on"] == {"build-eclair": {"condition": "service_completed_successfully"}}
    assert builder["environment"] == {
        **SETTINGS,
        "ECLAIR_CHECKPOINT_DIR": "/checkpoints",
        "ECLAIR_MODEL_DIR": "/models",
    }
    mounts = {each["target"]: each for each in builder["volumes"]}
    assert mounts["/checkpoints"]["source"] == "/data/checkpoints"
    assert mounts["/checkpoints"]["read_only"]
    assert mounts["/models"]["source"] == server["volumes"][0]["source"] == "/data/models"
    assert server["hostname"] == "triton-eclair"
    assert server["command"][:2] == ["serve", "/models"]


@pytest.mark.capability("3.20")
def test_the_settings_beside_the_compose_file_are_the_four_of_the_guide():
    own = own_settings()
    assert set(own) == set(SETTINGS)
    assert own["ECLAIR_BATCH_SIZE"] == "16"
    compose(own)
    for name in ("ECLAIR_CHECKPOINT_DIR", "ECLAIR_CHECKPOINT_NAME", "ECLAIR_MODEL_DIR"):
        with pytest.raises(KeyError, match=name):
            compose({**own, name: ""})


def compose_command():
    """Return the command of docker compose, or None if this machine does not have it."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            ran = subprocess.run([*command, "version"], capture_output=True, check=False)
            if ran.returncode == 0:
                return command
    return None


@pytest.mark.capability("3.20")
def test_docker_compose_accepts_the_file_and_resolves_it_alike():
    command = compose_command()
    if command is None:
        pytest.skip("docker compose is not installed")
    ran = subprocess.run(
        [*command, "-f", str(COMPOSE), "config", "--format", "json"],
        env={**os.environ, **SETTINGS},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    services = json.loads(ran.stdout)["services"]
    assert services["build-eclair"]["environment"]["ECLAIR_CHECKPOINT_NAME"] == "best"
    assert services["build-eclair"]["environment"]["ECLAIR_BATCH_SIZE"] == "4"
    assert services["build-eclair"]["volumes"][0]["source"] == "/data/checkpoints"


def test_the_server_of_the_compose_file_takes_its_flags():
    command = [sys.executable, "-m", "slipway", "serve", "--help"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    for word in compose(SETTINGS)["triton-eclair"]["command"][2:]:
        assert word.split("=")[0] in ran.stdout


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.capability("3.13")
@pytest.mark.capability("3.18")
def test_the_example_runs_from_top_to_bottom_and_finds_what_is_on_the_pages(tmp_path):
    http, grpc, metrics = free_ports(3)
    settings = {"WORK_DIR": tmp_path, "PYTHON": sys.executable, "PYTHONPATH": ROOT}
    settings |= {"HTTP_PORT": http, "GRPC_PORT": grpc, "METRICS_PORT": metrics}
    environment = {**os.environ, **{name: str(value) for name, value in settings.items()}}
    ran = subprocess.run(
        ["bash", EXAMPLE / "run.sh"], env=environment, cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr[-3000:]
    assert "judged: 2 pages, 0 problems" in ran.stdout
    for number in (1, 2):
        assert (tmp_path / "found" / f"page-{number}.png").stat().st_size > 10_000


def free_ports(count):
    """Return ports that are free now; the script needs to know them before its server starts."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()
