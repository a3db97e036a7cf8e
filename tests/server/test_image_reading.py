"""A converted reader of images answers over HTTP and gRPC as transformers does, from a file or from pixels to text."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as hf
import tritonclient.grpc
import tritonclient.http
from PIL import Image
from tritonclient.utils import InferenceServerException

from benchmarks.serving import RunningServer, running_server
from slipway.convert.conversion import convert
from slipway.convert.options import ConvertOptions
from slipway.convert.vision.processor_check import open_reference_processor
from tests.kits.calls import infer
from tests.kits.image_readers import write_reader

SIZES = ((40, 60), (16, 24), (90, 33))


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_reader(tmp_path_factory.mktemp("reader"))


@pytest.fixture(scope="module")
def server(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("models")
    convert(checkpoint, ConvertOptions("ocr", repository, "onnxruntime", "fp32"))
    with running_server(repository) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def client(request, server: RunningServer):
    module = tritonclient.http if request.param == "http" else tritonclient.grpc
    with module.InferenceServerClient(getattr(server, request.param)) as opened:
        yield opened


def pictures() -> list[np.ndarray]:
    random = np.random.default_rng(6)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in SIZES]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def files(images: list[np.ndarray]) -> dict[str, np.ndarray]:
    return {"encoded_image": np.array([[png(image)] for image in images], np.object_)}


def expected(checkpoint: Path, images: list[np.ndarray], **settings: object) -> list[str]:
    model = hf.VisionEncoderDecoderModel.from_pretrained(checkpoint).eval()
    processor, tokenizer = open_reference_processor(checkpoint), hf.AutoTokenizer.from_pretrained(checkpoint)
    texts = []
    for image in images:
        pixels = np.asarray(processor(Image.fromarray(image), return_tensors="np")["pixel_values"])
        with torch.inference_mode():
            ids = model.generate(torch.from_numpy(pixels), **settings)
        texts += tokenizer.batch_decode(ids, skip_special_tokens=True)
    return texts


def answered(array: np.ndarray) -> list[str]:
    return [text.decode() for text in array.ravel()]


def test_files_of_different_sizes_are_read_as_by_transformers(client, checkpoint):
    images = pictures()
    found = answered(infer(client, "ocr", files(images), "generated_text"))
    assert found == expected(checkpoint, images)
    assert len(set(found)) > 1


def test_pixels_are_read_like_the_file(client, checkpoint):
    [first, *_] = pictures()
    found = answered(infer(client, "ocr", {"image": first[None]}, "generated_text"))
    assert found == expected(checkpoint, [first])


def test_arguments_of_generation_pass_through_the_ensemble(client, checkpoint):
    images = pictures()
    column = np.ones((len(images), 1), np.uint32)
    arguments = {"beam_width": column * 3, "max_output_len": column * 9}
    found = answered(infer(client, "ocr", files(images) | arguments, "generated_text"))
    assert found == expected(checkpoint, images, num_beams=3, max_new_tokens=9, length_penalty=1.0)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"encoded_image": np.array([[b"GIF89a, or not"]], np.object_)}, "image"),
        ({"encoded_image": np.array([[png(pictures()[0])[:900]]], np.object_)}, "image"),
        ({"image": np.zeros((1, 0, 5, 3), np.uint8)}, "0 x 5 pixels"),
        (files(pictures()[:1]) | {"max_output_len": np.full((1, 1), 4000, np.uint32)}, "only 40 tokens are possible"),
        (files(pictures()[:1]) | {"image": pictures()[0][None]}, "one of the inputs"),
    ],
    ids=["no-image", "truncated", "empty", "too-long", "both"],
)
def test_a_request_that_cannot_be_read_is_refused_alone(client, checkpoint, inputs, reason):
    with pytest.raises(InferenceServerException, match=reason):
        infer(client, "ocr", inputs, "generated_text")
    images = pictures()[:1]
    assert answered(infer(client, "ocr", files(images), "generated_text")) == expected(checkpoint, images)
