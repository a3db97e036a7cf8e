"""The written image processor in a real server, over HTTP and gRPC: bad images fail alone."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
from google.protobuf import text_format
from tritonclient.grpc.model_config_pb2 import ModelConfig
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer, running_server
from slipway.convert.models.image_processor import ImagePipeline
from slipway.convert.vision.image_settings import ImagePadding, ImageSettings, ImageStep
from slipway.convert.vision.processor_model import write_processor
from tests.convert.models.test_image_processor import BAD, COLOURS, FILES, files
from tests.convert.vision.pictures import picture
from tests.kits.calls import infer, tensors

LEVELS = [ImageStep("rescale", {"factor": 1 / 255}), ImageStep("normalise", {"mean": [0.5] * 3, "std": [0.5] * 3})]
FIXED = ImageSettings("", [ImageStep("resize", {"height": 24, "width": 24, "resample": 3})], LEVELS)
BETWEEN = {"shortest": 40, "longest": 70, "multiple": 1, "resample": 2}
VARIABLE = ImageSettings("", [ImageStep("resize_between", BETWEEN)], LEVELS, ImagePadding(), masks=True)
CLIENTS = {
    "http": lambda server: tritonclient.http.InferenceServerClient(server.http),
    "grpc": lambda server: tritonclient.grpc.InferenceServerClient(server.grpc),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("images")
    write_processor(repository / "fixed", FIXED, 16)
    write_processor(repository / "variable", VARIABLE, 4, mask=True, size=True)
    with running_server(repository) as running:
        yield running


@pytest.fixture(params=CLIENTS)
def client(request: pytest.FixtureRequest, server: RunningServer) -> Iterator[Any]:
    opened = CLIENTS[request.param](server)
    yield opened
    opened.close()


def test_files_of_clients_are_decoded_in_a_process_of_their_own(tmp_path):
    write_processor(tmp_path / "images", FIXED, 2)
    config = text_format.Parse((tmp_path / "images" / "config.pbtxt").read_text(), ModelConfig())
    assert config.parameters["EXECUTION_MODE"].string_value == "process"
    assert [(each.name, each.optional) for each in config.input] == [("image", True), ("encoded_image", True)]
    assert [(each.name, list(each.dims)) for each in config.output] == [("pixel_values", [3, 24, 24])]


def pixels(settings: ImageSettings, *images: Any) -> np.ndarray:
    """Return what the processor gives without a server."""
    return ImagePipeline(settings.to_pipeline()).run(list(images))["pixel_values"]


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "cmyk jpeg", "palette with alpha", "orientation 6"])
def test_a_file_becomes_the_networks_input(client, name):
    found = infer(client, "fixed", {"encoded_image": files(FILES[name])}, "pixel_values")
    np.testing.assert_array_equal(found, pixels(FIXED, FILES[name]))


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_an_array_becomes_the_networks_input(client, channels):
    image = np.dstack([COLOURS, COLOURS[:, :, 0]])[:, :, :channels]
    found = infer(client, "fixed", {"image": image[None]}, "pixel_values")
    np.testing.assert_array_equal(found, pixels(FIXED, image))


def test_images_of_different_sizes_share_a_request_with_mask_and_sizes(client):
    asked = files(FILES["png"], FILES["orientation 6"])
    module = tritonclient.http if isinstance(client, tritonclient.http.InferenceServerClient) else tritonclient.grpc
    answer = client.infer("variable", tensors(module, {"encoded_image": asked}))
    assert answer.as_numpy("pixel_values").shape == (2, 3, 53, 53)
    assert answer.as_numpy("original_size").tolist() == [[30, 40], [40, 30]]
    assert answer.as_numpy("pixel_mask").sum((1, 2)).tolist() == [40 * 53, 53 * 40]


@pytest.mark.parametrize("name", BAD)
def test_a_bad_image_is_refused_with_its_reason_and_others_are_served(client, name):
    content, reason = BAD[name]
    with pytest.raises(InferenceServerException) as caught:
        infer(client, "fixed", {"encoded_image": files(content)}, "pixel_values")
    assert reason in caught.value.message()
    assert caught.value.status() in {"400", "StatusCode.INVALID_ARGUMENT"}
    assert infer(client, "fixed", {"image": COLOURS[None]}, "pixel_values").shape == (1, 3, 24, 24)


@pytest.mark.parametrize(
    ("arrays", "reason"),
    [
        ({"image": COLOURS[None], "encoded_image": files(FILES["png"])}, "but has both"),
        ({"image": np.zeros((17, 4, 4, 3), np.uint8)}, "16"),
        ({"image": np.zeros((1, 4, 4), np.uint8)}, "image"),
        ({"image": np.zeros((1, 4, 4, 3), np.float32)}, "image"),
        ({"image": np.zeros((1, 4, 4, 5), np.uint8)}, "the image has 5 channels"),
        ({"image": np.zeros((1, 0, 4, 3), np.uint8)}, "the image has 0 x 4 pixels"),
    ],
    ids=["both", "rows", "rank", "datatype", "channels", "empty"],
)
def test_a_request_outside_the_contract_is_refused(client, arrays, reason):
    with pytest.raises(InferenceServerException, match=reason) as caught:
        infer(client, "fixed", arrays, "pixel_values")
    assert caught.value.status() in {"400", "StatusCode.INVALID_ARGUMENT"}


def test_good_and_bad_images_at_the_same_time_do_not_touch_one_another(server):
    def ask(number: int) -> str:
        transport = CLIENTS["grpc" if number % 4 < 2 else "http"](server)
        content = BAD["truncated jpeg"][0] if number % 2 else FILES["jpeg"]
        try:
            found = infer(transport, "fixed", {"encoded_image": files(content)}, "pixel_values")
        except InferenceServerException as error:
            return error.message()
        finally:
            transport.close()
        np.testing.assert_array_equal(found, expected)
        return "right"

    expected = pixels(FIXED, FILES["jpeg"])
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(24)))
    assert answers[::2] == ["right"] * 12
    assert all("the image cannot be decoded" in answer for answer in answers[1::2])


def test_63_megabytes_of_pages_are_processed(client):
    page = picture(1280, 1024)
    found = infer(client, "fixed", {"image": np.broadcast_to(page, (16, *page.shape)).copy()}, "pixel_values")
    np.testing.assert_array_equal(found, pixels(FIXED, page).repeat(16, 0))
