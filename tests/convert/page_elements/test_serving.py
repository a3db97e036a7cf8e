"""A converted detector in a real server: the contract of the model, and pages to rows per label."""

from __future__ import annotations

import io

import numpy as np
import pytest
import torch
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions
from slipway.documents.detection import page_elements
from slipway.documents.letterbox import page_batch
from slipway.documents.pages import open_page
from tests.kits.calls import infer, tensors
from tests.kits.detectors import CELL, ColourDetector, coloured_page, write_detector

pytestmark = pytest.mark.slow
LARGER = ("--http-max-input-size=134217728", "--grpc-max-message-bytes=134217728")  # 8 pages as FP32 have 101 MB
LABELS = ("table", "chart", "title")
PAGE = coloured_page(("table", 6, 6), ("title", 20, 20), ("table", 22, 6))
WIDE = coloured_page(("chart", 8, 8), height=640)


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """The detector `yolox`, one without decoding (`undecoded`), and one that takes a single page (`single`)."""
    directory = tmp_path_factory.mktemp("detectors")
    for name, changes in {"yolox": {}, "undecoded": {"decoded": False}, "single": {"batched": False}}.items():
        path = write_detector(directory / f"{name}.onnx", **changes)
        convert(path, ConvertOptions(name, directory / "models", "onnxruntime", "fp32", task=Task.PAGE_ELEMENTS))
    return directory / "models"


@pytest.fixture(scope="module")
def server(repository):
    with running_server(repository, *LARGER) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(request, server):
    module = {"http": tritonclient.http, "grpc": tritonclient.grpc}[request.param]
    with module.InferenceServerClient(getattr(server, request.param)) as connection:
        yield connection


def encoded(page, how="PNG", **options):
    """Return a page, or a Pillow image, as the bytes of a file."""
    file = io.BytesIO()
    (page if isinstance(page, Image.Image) else Image.fromarray(page)).save(file, how, **options)
    return file.getvalue()


def as_input(*files):
    return {"encoded_image": np.array([[file] for file in files], np.object_)}


def ask(client, arrays, model="yolox-pages"):
    """Return the rows per label [pages, n, 5]."""
    module = tritonclient.http if isinstance(client, tritonclient.http.InferenceServerClient) else tritonclient.grpc
    answer = client.infer(model, tensors(module, arrays))
    return {label: answer.as_numpy(label) for label in LABELS}


def directly(*pages):
    """Return the elements of each page from the network and the library, without a server."""
    batch = page_batch(pages)
    with torch.no_grad():
        output = ColourDetector()(torch.from_numpy(batch.pixels)).numpy()
    return page_elements(output, batch.sizes)


def assert_same(found, expected):
    """Compare responses with the elements of each page, after which the rows are zeros."""
    for number, elements in enumerate(expected):
        for label in LABELS:
            count = len(elements[label])
            np.testing.assert_allclose(found[label][number, :count], elements[label], atol=2e-4)
            assert not found[label][number, count:].any()


@pytest.mark.capability("3.18")
def test_the_model_itself_keeps_the_contract_for_every_batch(client, repository):
    assert (repository / "yolox" / "1" / "model.onnx").is_file()
    assert client.is_model_ready("yolox")
    batch = page_batch([PAGE, WIDE, *[PAGE] * 6])
    with torch.no_grad():
        expected = ColourDetector()(torch.from_numpy(batch.pixels)).numpy()
    for count in (1, 2, 4, 8):
        found = infer(client, "yolox", {"input": batch.pixels[:count]}, "output")
        assert (found.shape, found.dtype) == ((count, 21_504, 8), np.float32)
        np.testing.assert_allclose(found, expected[:count], rtol=1e-4, atol=1e-3)
    with pytest.raises(InferenceServerException, match="batch-size must be <= 8"):
        infer(client, "yolox", {"input": np.zeros((9, 3, 1024, 1024), np.float32)}, "output")


def test_a_page_becomes_rows_per_label_where_its_elements_are(client):
    found = ask(client, {"image": PAGE[None]})
    assert_same(found, directly(PAGE))
    (title,) = found["title"][0]
    middle = (20.5 * CELL) / 1024
    np.testing.assert_allclose(title[:4], [middle - 0.125, middle - 0.125, middle + 0.125, middle + 0.125], atol=1e-4)
    assert found["table"].shape == (1, 2, 5)
    assert found["chart"].shape == (1, 0, 5)


def test_pages_of_one_request_may_differ_in_size_and_are_filled_with_zeros(client):
    found = ask(client, as_input(encoded(PAGE), encoded(WIDE)))
    assert_same(found, directly(PAGE, WIDE))
    assert found["table"].shape == (2, 2, 5)


def test_an_undecoded_export_finds_the_same(client):
    assert_same(ask(client, {"image": PAGE[None]}, "undecoded-pages"), directly(PAGE))


def test_an_export_of_one_page_takes_a_batch_of_one(client):
    assert_same(ask(client, {"image": PAGE[None]}, "single-pages"), directly(PAGE))
    with pytest.raises(InferenceServerException):
        ask(client, {"image": np.stack([PAGE, PAGE])}, "single-pages")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(encoded(PAGE, "WEBP", lossless=True), id="webp"),
        pytest.param(encoded(PAGE, "JPEG", quality=95), id="jpeg"),
        pytest.param(encoded(Image.fromarray(PAGE).convert("P")), id="palette"),
        pytest.param(encoded(Image.fromarray(PAGE).convert("RGBA")), id="rgba"),
        pytest.param(encoded(Image.fromarray(PAGE).convert("CMYK"), "JPEG", quality=95), id="cmyk"),
        pytest.param(encoded(Image.fromarray(PAGE).convert("L")), id="gray"),
        pytest.param(encoded(Image.fromarray(PAGE[:1, :1])), id="one-pixel"),
    ],
)
def test_every_kind_of_image_file_is_read(client, page):
    assert_same(ask(client, as_input(page)), directly(open_page(page)))


def test_a_page_that_a_camera_turned_is_read_upright(client):
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is at the right: turn it by 90 degrees to show it
    turned = encoded(Image.fromarray(WIDE).rotate(90, expand=True), "JPEG", quality=95, exif=exif)
    (found,) = ask(client, as_input(turned))["chart"][0]
    (expected,) = directly(WIDE)[0]["chart"]
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_raw_pages_may_be_gray_or_have_an_opacity(client):
    gray = PAGE.mean(-1, keepdims=True).astype(np.uint8)
    opaque = np.concatenate([PAGE, np.full((*PAGE.shape[:2], 1), 255, np.uint8)], -1)
    assert_same(ask(client, {"image": gray[None]}), directly(gray))
    assert_same(ask(client, {"image": opaque[None]}), directly(PAGE))


BOMB = Image.new("1", (40_000, 40_000))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        pytest.param({}, "has neither|expected", id="neither"),
        pytest.param({"image": PAGE[None], **as_input(encoded(PAGE))}, "but it has both", id="both"),
        pytest.param(as_input(encoded(PAGE, "JPEG")[:2000]), "it cannot be decoded", id="truncated"),
        pytest.param(as_input(b"not an image"), "these 12 bytes are not an image", id="no-image"),
        pytest.param(as_input(b""), "these 0 bytes are not an image", id="empty"),
        pytest.param(as_input(encoded(BOMB)), "it has more than 67,108,864 pixels", id="bomb"),
        pytest.param({"image": np.zeros((1, 0, 9, 3), np.uint8)}, "it has 0 x 9 pixels", id="no-pixels"),
        pytest.param({"image": np.zeros((1, 9, 9, 5), np.uint8)}, r"its shape is \[9, 9, 5\]", id="five-channels"),
        pytest.param({"image": np.zeros((9, 9, 9, 3), np.uint8)}, "batch-size must be <= 8", id="nine-pages"),
        pytest.param({"image": PAGE[None].astype(np.float32)}, "UINT8", id="floats"),
        pytest.param(as_input(encoded(PAGE), b"x"), "these 1 bytes are not an image", id="second-page"),
    ],
)
def test_bad_pages_are_refused_and_the_next_request_is_answered(client, arrays, message):
    with pytest.raises(InferenceServerException, match=message):
        ask(client, arrays)
    assert_same(ask(client, {"image": PAGE[None]}), directly(PAGE))
