"""OpenVINO models in a real server."""

import numpy as np
import tritonclient.http
from onnx import TensorProto

from tests.backends.openvino.models import to_ir
from tests.kits import onnx_graphs as graphs
from tests.kits.calls import infer


def test_a_directory_with_model_xml_alone_serves_beside_an_accelerated_onnx_model(tmp_path, serve):
    to_ir(graphs.two_outputs(tmp_path / "bare"))
    graphs.identity(tmp_path / "fast", TensorProto.FLOAT)
    accelerator = 'execution_accelerators { cpu_execution_accelerator [ { name: "openvino" } ] }'
    (tmp_path / "fast" / "config.pbtxt").write_text(f"max_batch_size: 4 optimization {{ {accelerator} }}")
    server = serve(tmp_path)
    x = np.array([[1, 2], [3, 4]], np.float32)
    with tritonclient.http.InferenceServerClient(server.http) as client:
        assert infer(client, "bare", {"a": x, "b": x}, "product").tolist() == [[1, 4], [9, 16]]
        assert infer(client, "fast", {"x": x}, "y").tolist() == x.tolist()
        config = client.get_model_config("bare")
    assert (config["backend"], config["default_model_filename"]) == ("openvino", "model.xml")
    assert "the model runs on onnxruntime" not in server.log
