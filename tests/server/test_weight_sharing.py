"""Instances of one model share its weights."""

from __future__ import annotations

import re
import shutil

import numpy as np
import psutil
import pytest
import tritonclient.http

from tests.kits.calls import infer

ROW = np.ones((1, 16), dtype=np.int64)


@pytest.mark.slow
@pytest.mark.capability("4.12")
def test_memory_grows_by_less_than_a_third_of_the_weights_from_one_instance_to_four(serve, tmp_path, minilm):
    sizes = {}
    for count in (1, 2, 4):
        repository = tmp_path / str(count)
        shutil.copytree(minilm / "minilm-model", repository / "minilm-model")
        config = repository / "minilm-model" / "config.pbtxt"
        config.write_text(config.read_text() + f"instance_group {{ count: {count} kind: KIND_CPU }}\n")
        server = serve(repository)
        with tritonclient.http.InferenceServerClient(server.http, concurrency=8) as client:
            for _ in range(4):
                infer(client, "minilm-model", dict.fromkeys(names(config.read_text()), ROW), "embedding")
        sizes[count] = psutil.Process(server.process.pid).memory_info().rss
        server.stop()
    weights = (minilm / "minilm-model/1/model.onnx").stat().st_size
    assert sizes[2] - sizes[1] < 0.3 * weights
    assert sizes[4] - sizes[1] < 0.3 * weights


def names(config: str) -> list[str]:
    return re.findall(r'input \{\s+name: "(\w+)"', config)
