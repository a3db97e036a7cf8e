"""A real plan on a real GPU."""

import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec

import numpy as np
import pytest
import torch

from slipway.backends.tensorrt.backend import TensorRtBackend
from slipway.errors import SlipwayError
from tests.backends.models import arrays, completion, context, infer, open_instance, parse, pending

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(find_spec("tensorrt") is None, reason="the package 'tensorrt' is not installed"),
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU that torch can use"),
]

WEIGHTS = np.arange(6, dtype=np.float32).reshape(2, 3)


@pytest.fixture
def plan(tmp_path):
    """Write relu(x @ WEIGHTS), x FP32 [rows, 2], for 1 to 4 rows or 5 to 8."""
    import tensorrt

    builder = tensorrt.Builder(tensorrt.Logger(tensorrt.Logger.ERROR))
    network = builder.create_network(0)
    x = network.add_input("x", tensorrt.float32, (-1, 2))
    weights = network.add_constant((2, 3), WEIGHTS).get_output(0)
    none = tensorrt.MatrixOperation.NONE
    product = network.add_matrix_multiply(x, none, weights, none).get_output(0)
    y = network.add_activation(product, tensorrt.ActivationType.RELU).get_output(0)
    y.name = "y"
    network.mark_output(y)
    settings = builder.create_builder_config()
    for low, high in ((1, 4), (5, 8)):
        profile = builder.create_optimization_profile()
        profile.set_shape("x", (low, 2), (high, 2), (high, 2))
        settings.add_optimization_profile(profile)
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.plan").write_bytes(bytes(builder.build_serialized_network(network, settings)))
    return tmp_path


def load(directory, text=""):
    config = parse(text)
    TensorRtBackend().complete(config, completion(directory))
    return TensorRtBackend().load(context(directory, str(config)))


def rows(count):
    return np.random.default_rng(count).standard_normal((count, 2)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 4, 5, 8])
def test_answers_equal_numpy_in_every_profile(plan, count):
    x = rows(count)
    answer = infer(open_instance(load(plan)), {"x": x})["y"]
    np.testing.assert_allclose(answer, np.maximum(x @ WEIGHTS, 0), rtol=1e-3, atol=1e-3)


def test_batches_are_split_by_rows(plan):
    executor = open_instance(load(plan))
    given = [rows(count) for count in (1, 3, 2)]
    responses = executor.execute([pending({"x": x}, rows=len(x)) for x in given]).responses
    for x, response in zip(given, responses, strict=True):
        np.testing.assert_allclose(arrays(response)["y"], np.maximum(x @ WEIGHTS, 0), rtol=1e-3, atol=1e-3)


def test_instances_run_at_the_same_time_on_one_engine(plan):
    model = load(plan)
    executors = [open_instance(model, index) for index in range(2)]
    x = rows(3)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda index: infer(executors[index % 2], {"x": x})["y"], range(2)))
    assert np.array_equal(*answers)


def test_the_plan_completes_the_configuration(plan):
    config = parse("")
    TensorRtBackend().complete(config, completion(plan))
    assert config.max_batch_size == 8
    assert list(config.output[0].dims) == [3]


def test_a_file_that_is_not_a_plan_is_refused(plan):
    text = str(parse('input { name: "x" data_type: TYPE_FP32 dims: [2] } output { name: "y" data_type: TYPE_FP32 }'))
    (plan / "1" / "model.plan").write_bytes(b"garbage")
    with pytest.raises(SlipwayError, match="build it again on this machine"):
        TensorRtBackend().load(context(plan, text))
    assert "tensorrt" in sys.modules
