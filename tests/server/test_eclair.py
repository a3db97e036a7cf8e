"""A reader of documents behind the name `eclair`: the contract of its clients over HTTP and gRPC, and bad requests."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer, running_server
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions
from slipway.documents.canvas import Canvas, canvas_batches, canvas_of
from slipway.documents.markup import parse_markup
from slipway.documents.reading import output_texts, read_page
from tests.kits.calls import infer
from tests.kits.image_readers import write_reader

MOST = 3
GOLDENS = {  # rows of the specification's section 3.4
    "<x_10><y_20>text1<x_30><y_40><class_A>": [("A", (10, 20, 30, 40), "text1")],
    "<x_1><y_2>one<x_3><y_4><class_Text>\n<x_5><y_6>two<x_7><y_8><class_Title>": [
        ("Text", (1, 2, 3, 4), "one"), ("Title", (5, 6, 7, 8), "two"),
    ],
    "nothing": [],
}  # fmt: skip
MOCK = """
import numpy as np
import triton_python_backend_utils as pb_utils

TEXTS = {texts!r}


class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            images = pb_utils.get_input_tensor_by_name(request, "image").as_numpy()
            texts = [TEXTS[int(image[0, 0, 0]) % len(TEXTS)].encode() for image in images]
            output = pb_utils.Tensor("text", np.array(texts, np.object_)[:, None])
            responses.append(pb_utils.InferenceResponse([output]))
        return responses
"""


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`eclair` from a tiny checkpoint, and `eclair_mock`, a Python model with the same contract and known texts."""
    root = tmp_path_factory.mktemp("eclair")
    source = write_reader(
        root / "source", "donut-swin", "mbart", markup=True, image_size=[1280, 1024],
        processor={"image_processor_type": "DonutImageProcessor"},
    )  # fmt: skip
    options = ConvertOptions(
        "eclair", root / "models", "onnxruntime", "fp32", task=Task.DOCUMENT_READING, max_batch_size=MOST
    )
    convert(source, options)
    mock = root / "models/eclair_mock"
    (mock / "1").mkdir(parents=True)
    (mock / "1/model.py").write_text(MOCK.format(texts=list(GOLDENS)))
    (mock / "config.pbtxt").write_text(
        'backend: "python"\nmax_batch_size: 16\n'
        'input { name: "image" data_type: TYPE_UINT8 dims: [ 1280, 1024, 3 ] }\n'
        'output { name: "text" data_type: TYPE_STRING dims: [ 1 ] }\n'
    )
    return root / "models"


@pytest.fixture(scope="module")
def server(repository: Path) -> Iterator[RunningServer]:
    with running_server(repository) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(request, server: RunningServer):
    if request.param == "http":
        with tritonclient.http.InferenceServerClient(server.http, concurrency=8) as opened:
            yield opened
    else:
        with tritonclient.grpc.InferenceServerClient(server.grpc) as opened:
            yield opened


def canvases(count: int) -> list[Canvas]:
    """Return different pages on canvases, as a client makes them."""
    random = np.random.default_rng(2)
    return [canvas_of(random.integers(0, 256, (700 + 50 * page, 500, 3), dtype=np.uint8)) for page in range(count)]


def pages(count: int) -> np.ndarray:
    [batch] = canvas_batches(canvases(count), count)
    return batch


@pytest.mark.capability("3.15")
def test_a_client_parses_the_goldens_from_a_model_with_the_contract(client):
    images = np.zeros((len(GOLDENS), 1280, 1024, 3), np.uint8)
    images[:, 0, 0, 0] = range(len(GOLDENS))
    texts = output_texts(infer(client, "eclair_mock", {"image": images}, "text"), len(images))
    for text, expected in zip(texts, GOLDENS.values(), strict=True):
        found = parse_markup(text).elements
        assert [(each.kind, each.box, each.text) for each in found] == expected


@pytest.mark.capability("3.15")
def test_pages_are_read_alone_and_in_a_batch_to_the_same_texts(client):
    images = pages(MOST)
    together = output_texts(infer(client, "eclair", {"image": images}, "text"), MOST)
    alone = [output_texts(infer(client, "eclair", {"image": image[None]}, "text"), 1)[0] for image in images]
    assert together == alone
    assert all(together)
    for text, canvas in zip(together, canvases(MOST), strict=True):
        assert read_page(text, canvas).problems  # random weights do not write well-formed markup


def test_a_batch_above_the_limit_is_refused_and_the_next_one_is_read(client):
    with pytest.raises(InferenceServerException, match=f"batch-size must be <= {MOST} for 'eclair'"):
        infer(client, "eclair", {"image": np.zeros((MOST + 1, 1280, 1024, 3), np.uint8)}, "text")
    assert infer(client, "eclair", {"image": pages(1)}, "text").shape == (1, 1)


@pytest.mark.parametrize("shape", [(1, 1024, 1280, 3), (1, 1280, 1024, 1), (1, 640, 512, 3)], ids=str)
def test_another_canvas_is_refused_with_both_shapes(client, shape):
    with pytest.raises(InferenceServerException, match=r"unexpected shape for input 'image'.*1280,1024,3"):
        infer(client, "eclair", {"image": np.zeros(shape, np.uint8)}, "text")


def test_pages_of_floats_are_refused(client):
    with pytest.raises(InferenceServerException, match="UINT8"):
        infer(client, "eclair", {"image": np.zeros((1, 1280, 1024, 3), np.float32)}, "text")


def test_requests_of_several_clients_are_each_answered_with_their_own_pages(server):
    images = pages(MOST)
    with tritonclient.grpc.InferenceServerClient(server.grpc) as client:
        expected = infer(client, "eclair", {"image": images}, "text").ravel().tolist()
    order = [0, 1, 2, 2, 1, 0]

    def read(page: int) -> bytes:
        with tritonclient.grpc.InferenceServerClient(server.grpc) as own:
            return infer(own, "eclair", {"image": images[page : page + 1]}, "text").item()

    with ThreadPoolExecutor(len(order)) as pool:
        assert list(pool.map(read, order)) == [expected[page] for page in order]
