"""Other kinds of models over all transports: TorchScript, mixed datatypes, very large tensors, metrics."""

from __future__ import annotations

import urllib.request

import numpy as np
import pytest

from tests.kits.calls import infer, infer_json


@pytest.mark.capability("4.2")
def test_a_torchscript_model_answers_with_its_own_shape_on_a_cpu(http, grpc):
    x = {"x": np.ones(2, dtype=np.float32)}
    assert infer_json(http, "simple_net", x, "output").tolist() == [2.0, 2.0]
    assert infer(grpc, "simple_net", x, "output").tolist() == [2.0, 2.0]


@pytest.mark.capability("3.14")
def test_an_fp32_mask_beside_int64_ids_gives_the_same_on_three_transports(http, grpc):
    arrays = {
        "ids": np.array([[1, 20, 300], [4000, 50000, 2**40]], dtype=np.int64),
        "mask": np.array([[1, 0.5, 0.25], [1, 1, 0]], dtype=np.float32),
    }
    expected = (arrays["ids"].astype(np.float32) * arrays["mask"]).sum(1, keepdims=True)
    for answer in (
        infer_json(http, "masked_sum", arrays, "total"),
        infer(http, "masked_sum", arrays, "total"),
        infer(grpc, "masked_sum", arrays, "total"),
    ):
        np.testing.assert_array_equal(answer, expected)


@pytest.mark.capability("3.16")
@pytest.mark.parametrize("transport", ["http", "grpc"])
def test_63_megabytes_of_images_come_back_whole(request, transport):
    images = np.random.default_rng(0).integers(0, 256, (16, 1280, 1024, 3), dtype=np.uint8)
    answer = infer(request.getfixturevalue(transport), "images", {"INPUT0": images}, "OUTPUT0")
    assert answer.shape == images.shape
    assert (answer == images).all()


@pytest.mark.capability("4.19")
def test_metrics_count_each_success(server, http):
    before = metric(server.metrics, 'nv_inference_request_success{model="identity",version="1"}')
    for _ in range(3):
        infer(http, "identity", {"INPUT0": np.ones((1, 2), dtype=np.float32)}, "OUTPUT0")
    assert metric(server.metrics, 'nv_inference_request_success{model="identity",version="1"}') == before + 3


def metric(address: str, series: str) -> float:
    with urllib.request.urlopen(f"http://{address}/metrics") as response:
        lines = response.read().decode().splitlines()
    return float(next(line.removeprefix(series) for line in lines if line.startswith(series)))


def test_a_python_model_in_its_own_process_answers(http):
    values = np.array([[1.5, -2.0, 3.25]], dtype=np.float32)
    np.testing.assert_array_equal(infer(http, "python_identity", {"INPUT0": values}, "OUTPUT0"), values)
