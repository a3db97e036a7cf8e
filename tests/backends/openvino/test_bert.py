"""A tiny BERT: OpenVINO gives the same answers as onnxruntime."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from slipway.backends.onnxruntime.backend import OnnxRuntimeBackend
from tests.backends.models import arrays, completion, context, infer, open_instance, parse, pending
from tests.backends.openvino.models import load
from tests.kits.repositories import ID_NAMES, TinyClassifier


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    directory = tmp_path_factory.mktemp("bert")
    (directory / "1").mkdir()
    TinyClassifier().export(directory / "1" / "model.onnx")
    return directory


def tokens(seed: int, rows: int, length: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(seed)
    mask = np.ones((rows, length), np.int32)
    mask[-1, length // 2 :] = 0
    ids = random.integers(0, 30_000, (rows, length)).astype(np.int32)
    return dict(zip(ID_NAMES, (ids, mask, np.zeros_like(ids)), strict=True))


def reference(directory):
    config = parse("")
    OnnxRuntimeBackend().complete(config, completion(directory))
    return open_instance(OnnxRuntimeBackend().load(context(directory, str(config))))


@pytest.mark.parametrize(("rows", "length"), [(1, 1), (1, 16), (4, 7), (2, 128)])
def test_fp32_answers_are_those_of_onnxruntime(bert, rows, length):
    given = tokens(rows, rows, length)
    ours = infer(open_instance(load(bert, file="model.onnx")), given)["logits"]
    theirs = infer(reference(bert), given)["logits"]
    assert np.abs(theirs).max() > 0.1
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)


def test_instances_that_run_at_the_same_time_answer_as_alone(bert):
    model = load(bert, "instance_group { count: 2 }", file="model.onnx")
    executors = [open_instance(model, index) for index in range(2)]
    batches = [tokens(index, 2, 5 + index) for index in range(8)]
    alone = [infer(executors[0], given)["logits"] for given in batches]

    def together(index):
        return [infer(executors[index], given)["logits"] for given in batches * 3]

    with ThreadPoolExecutor(2) as pool:
        for answers in pool.map(together, range(2)):
            for answer, expected in zip(answers, alone * 3, strict=True):
                np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


def test_a_row_in_a_batch_is_the_row_alone(bert):
    executor = open_instance(load(bert, file="model.onnx"))
    requests = [tokens(seed, 1, 12) for seed in range(4)]
    responses = executor.execute([pending(given) for given in requests]).responses
    for given, response in zip(requests, responses, strict=True):
        np.testing.assert_allclose(arrays(response)["logits"], infer(executor, given)["logits"], rtol=0, atol=1e-4)
