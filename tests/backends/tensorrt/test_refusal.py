"""Plans on hosts that cannot run them."""

import subprocess
import sys

import numpy as np
import pytest
import tritonclient.http
from tritonclient.utils import InferenceServerException

from slipway.backends.tensorrt import library
from slipway.backends.tensorrt.backend import TensorRtBackend
from slipway.errors import Code, SlipwayError
from slipway.machine import has_gpu
from tests.backends.models import context
from tests.kits.calls import infer
from tests.kits.repositories import ID_NAMES, add_masked_sum, write_config

IDS = ", ".join(f'{{ name: "{name}" data_type: TYPE_INT32 dims: [ -1 ] }}' for name in ID_NAMES)
# shern2/test-triton-pub, models/finbert-trt-model/config.pbtxt
FINBERT_TRT = f"""backend: "tensorrt"
max_batch_size: 16
input [ {IDS} ]
output [ {{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }} ]
dynamic_batching {{ preferred_batch_size: [ 8, 16 ] max_queue_delay_microseconds: 100 }}
instance_group [ {{ count: 1 kind: KIND_GPU }} ]
optimization {{
  cuda {{ graphs: true }}
  execution_accelerators {{
    gpu_execution_accelerator [ {{ name: "tensorrt" parameters {{ key: "precision_mode" value: "FP16" }} }} ]
  }}
}}
"""
ALTERNATIVE = (
    "Serve the model's ONNX file with the backend onnxruntime or openvino instead, or make a model for this machine "
    "with: slipway convert --engine openvino"
)

needs_no_gpu = pytest.mark.skipif(has_gpu(), reason="this host has a GPU")


@pytest.mark.capability("4.10")
@needs_no_gpu
def test_a_plan_on_a_cpu_host_fails_with_the_reason_while_other_models_serve(tmp_path, serve):
    (write_config(tmp_path, "finbert-trt-model", FINBERT_TRT) / "model.plan").write_bytes(b"a plan")
    add_masked_sum(tmp_path)
    server = serve(tmp_path, "--exit-on-error=false", "--strict-readiness=false")
    reason = (
        "unable to load model 'finbert-trt-model': a TensorRT plan runs only on an NVIDIA GPU, and this host has "
        f"none. {ALTERNATIVE}"
    )
    with tritonclient.http.InferenceServerClient(server.http) as client:
        states = {row["name"]: row for row in client.get_model_repository_index()}
        assert states["masked_sum"]["state"] == "READY"
        assert states["finbert-trt-model"]["state"] == "UNAVAILABLE"
        assert reason in states["finbert-trt-model"]["reason"]
        given = {"ids": np.array([[1, 2]]), "mask": np.ones((1, 2), np.float32)}
        assert infer(client, "masked_sum", given, "total").tolist() == [[3]]
        with pytest.raises(InferenceServerException, match="finbert-trt-model"):
            infer(client, "finbert-trt-model", {name: np.ones((1, 2), np.int32) for name in ID_NAMES}, "logits")
    assert reason in server.log


@pytest.mark.parametrize("missing", ["tensorrt", "torch"])
def test_a_gpu_without_the_libraries_names_the_pip_command(tmp_path, monkeypatch, missing):
    monkeypatch.setattr(library, "has_gpu", lambda: True)
    monkeypatch.setattr(library, "find_spec", lambda name: None if name == missing else object())
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.plan").touch()
    with pytest.raises(SlipwayError) as caught:
        TensorRtBackend().load(context(tmp_path, ""))
    assert caught.value.code is Code.UNAVAILABLE
    assert f"the package '{missing}' is not installed here (pip install " in caught.value.message
    assert caught.value.message.endswith(ALTERNATIVE)


@needs_no_gpu
def test_refusing_imports_no_heavy_library(tmp_path):
    code = (
        "import sys; from slipway.backends.registry import find_backend; from slipway.errors import SlipwayError\n"
        "from slipway.backends.tensorrt.library import require_tensorrt\n"
        "find_backend('tensorrt')\n"
        "try: require_tensorrt('m')\n"
        "except SlipwayError as error: print(error.code.name, {'torch', 'tensorrt'} & sys.modules.keys())"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "UNAVAILABLE set()\n"
