"""Networks that see images, converted, served and asked with arrays and files, and compared with transformers."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException

from benchmarks.serving import running_server
from slipway.convert.conversion import convert
from slipway.convert.directory import Task
from slipway.convert.options import ConvertOptions
from slipway.convert.vision.pictures import make_picture
from tests.kits.calls import tensors
from tests.kits.vision_checkpoints import LABELS, OBJECTS, write_classifier, write_detector, write_pair

TEXTS = ("a photo of the cat", "two dogs on a beach", "")


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sources")
    return {
        "classes": write_classifier(root / "vit"),
        "kinds": write_classifier(root / "multi", problem_type="multi_label_classification"),
        "objects": write_detector(root / "detr"),
        "ranked": write_detector(root / "rt_detr", "rt_detr"),
        "images": write_pair(root / "clip"),
        "texts": root / "clip",
        "padded": write_pair(root / "siglip", "siglip"),
    }


@pytest.fixture(scope="module")
def clients(sources, tmp_path_factory) -> Iterator[dict[str, Any]]:
    """Clients of both protocols of a server with all of them."""
    repository = tmp_path_factory.mktemp("vision")
    for name, source in sources.items():
        task = Task.TEXT_EMBEDDING if name in ("texts", "padded") else None
        convert(source, ConvertOptions(name, repository, "onnxruntime", "fp32", task=task))
    with (
        running_server(repository) as server,
        tritonclient.grpc.InferenceServerClient(server.grpc) as grpc,
        tritonclient.http.InferenceServerClient(server.http) as http,
    ):
        yield {"grpc": grpc, "http": http}


@pytest.fixture(params=["grpc", "http"])
def client(request, clients) -> Any:
    return clients[request.param]


def ask(client: Any, model: str, **arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Return every output of one request."""
    module = tritonclient.http if isinstance(client, tritonclient.http.InferenceServerClient) else tritonclient.grpc
    names = [each["name"] for each in metadata(client, model)["outputs"]]
    result = client.infer(model, tensors(module, arrays))
    return {name: result.as_numpy(name) for name in names}


def metadata(client: Any, model: str) -> dict[str, Any]:
    if isinstance(client, tritonclient.http.InferenceServerClient):
        return client.get_model_metadata(model)
    return client.get_model_metadata(model, as_json=True)


def files(*pictures: np.ndarray) -> np.ndarray:
    """Return BYTES [rows, 1] of PNG files."""
    array = np.empty((len(pictures), 1), dtype=np.object_)
    for row, picture in enumerate(pictures):
        file = io.BytesIO()
        Image.fromarray(picture).save(file, "PNG")
        array[row, 0] = file.getvalue()
    return array


def prepared(source: Path, *pictures: np.ndarray) -> dict[str, torch.Tensor]:
    processor = transformers.AutoImageProcessor.from_pretrained(source, backend="pil")
    return {
        name: torch.from_numpy(np.asarray(each))
        for name, each in processor(list(pictures), return_tensors="np").items()
    }


def network(source: Path, auto: str) -> Any:
    return getattr(transformers, auto).from_pretrained(source).eval()


@torch.no_grad()
def logits_of(source: Path, picture: np.ndarray) -> torch.Tensor:
    return network(source, "AutoModelForImageClassification")(**prepared(source, picture)).logits


def test_a_picture_gets_the_label_and_the_scores_of_transformers(client, sources):
    picture = make_picture(1, 40, 60)
    answer = ask(client, "classes", image=picture[None])
    logits = logits_of(sources["classes"], picture)
    np.testing.assert_allclose(answer["logits"], logits.numpy(), atol=1e-4)
    np.testing.assert_allclose(answer["scores"], logits.softmax(-1).numpy(), atol=1e-4)
    assert answer["label"][0, 0].decode() == LABELS[int(logits.argmax())]


def test_files_of_different_sizes_share_a_request(client):
    pictures = [make_picture(seed, 30 + seed, 50 - seed) for seed in range(4)]
    together = ask(client, "classes", encoded_image=files(*pictures))
    for row, picture in enumerate(pictures):
        alone = ask(client, "classes", image=picture[None])
        np.testing.assert_allclose(together["logits"][row], alone["logits"][0], atol=1e-4)


def test_labels_that_do_not_exclude_each_other_have_scores_of_their_own(client, sources):
    picture = make_picture(2, 40, 60)
    logits = logits_of(sources["kinds"], picture)
    answer = ask(client, "kinds", encoded_image=files(picture))
    np.testing.assert_allclose(answer["scores"], logits.sigmoid().numpy(), atol=1e-4)


@pytest.mark.parametrize("model", ["objects", "ranked"])
@torch.no_grad()
def test_objects_equal_those_of_transformers_in_pixels_of_the_image(client, sources, model):
    pictures = [make_picture(3, 70, 100), make_picture(4, 110, 60)]
    given = prepared(sources[model], *pictures)
    outputs = network(sources[model], "AutoModelForObjectDetection")(
        **{name: given[name] for name in given if name == "pixel_values" or model == "objects"}
    )
    processor = transformers.AutoImageProcessor.from_pretrained(sources[model], backend="pil")
    expected = processor.post_process_object_detection(outputs, threshold=0.2, target_sizes=[(70, 100), (110, 60)])
    answer = ask(client, model, encoded_image=files(*pictures), threshold=np.full((2, 1), 0.2, np.float32))
    assert sum(len(row["scores"]) for row in expected) > 2
    for row, objects in enumerate(expected):
        count = len(objects["scores"])
        np.testing.assert_allclose(answer["scores"][row, :count], objects["scores"].numpy(), atol=1e-4)
        np.testing.assert_allclose(answer["boxes"][row, :count], objects["boxes"].numpy(), atol=0.02)
        assert [label.decode() for label in answer["labels"][row, :count]] == [
            OBJECTS[int(at)] for at in objects["labels"]
        ]
        assert not answer["scores"][row, count:].any()


def test_a_threshold_out_of_range_is_an_error_of_its_request(client):
    with pytest.raises(InferenceServerException, match="from 0 to 1"):
        ask(client, "objects", image=make_picture(0, 30, 30)[None], threshold=np.array([[2]], np.float32))


@torch.no_grad()
def test_an_image_becomes_the_vector_of_transformers(client, sources):
    picture = make_picture(5, 60, 40)
    answer = ask(client, "images", image=picture[None])
    found = network(sources["images"], "AutoModel").get_image_features(**prepared(sources["images"], picture))
    np.testing.assert_allclose(answer["embedding"], found.pooler_output.numpy(), atol=1e-4)
    np.testing.assert_allclose(np.linalg.norm(answer["unit_embedding"], axis=-1), 1, atol=1e-5)


@pytest.mark.parametrize(("model", "padding"), [("texts", True), ("padded", "max_length")])
@torch.no_grad()
def test_a_text_becomes_the_vector_of_transformers(client, sources, model, padding):
    tokenizer = transformers.AutoTokenizer.from_pretrained(sources[model])
    given = tokenizer(list(TEXTS), padding=padding, return_tensors="pt")
    inputs = {name: given[name] for name in ("input_ids", "attention_mask") if name == "input_ids" or model == "texts"}
    found = network(sources[model], "AutoModel").get_text_features(**inputs).pooler_output.numpy()
    rows = np.array([[text.encode()] for text in TEXTS], dtype=np.object_)
    np.testing.assert_allclose(ask(client, model, text=rows)["embedding"], found, atol=1e-4)


def test_a_request_without_an_image_or_with_two_is_refused(client):
    picture = make_picture(0, 8, 8)
    with pytest.raises(InferenceServerException, match="both"):
        ask(client, "classes", image=picture[None], encoded_image=files(picture))
    with pytest.raises(InferenceServerException):
        ask(client, "classes", encoded_image=np.array([[b"not a picture"]], dtype=np.object_))
