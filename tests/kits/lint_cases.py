"""One tiny repository for each of the linter's rules, which breaks the rule once."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from onnx import TensorProto

from tests.kits import onnx_graphs as graphs

IO = """input [ { name: "INPUT0" data_type: TYPE_FP32 dims: [ 4 ] } ]
output [ { name: "OUTPUT0" data_type: TYPE_FP32 dims: [ 4 ] } ]
"""
BATCHES = f"""backend: "identity"
max_batch_size: 8
{IO}"""
X_TO_Y = """input [ { name: "x" data_type: TYPE_FP32 dims: [ -1 ] } ]
output [ { name: "y" data_type: TYPE_FP32 dims: [ -1 ] } ]
"""
ONNX = f"""backend: "onnxruntime"
max_batch_size: 8
dynamic_batching {{ }}
{X_TO_Y}"""

Write = Callable[[Path], object]


def model(repository: Path, config: str | None = BATCHES, *, name: str = "m", version: str = "1") -> Path:
    """Write a model's directory; if `version` is "", without a version directory."""
    directory = repository / name
    (directory / version).mkdir(parents=True, exist_ok=True)
    if config is not None:
        (directory / "config.pbtxt").write_text(config)
    return directory


def onnx_model(repository: Path, config: str | None = ONNX, *, name: str = "m") -> Path:
    """Write a model whose graph returns x as y, both FP32 [n, m]."""
    return graphs.identity(model(repository, config, name=name), TensorProto.FLOAT)


def fixed_batch(repository: Path) -> None:
    graphs.identity(model(repository, ONNX), TensorProto.FLOAT, shape=(1, 4))


def step(name: str, inputs: dict[str, str], outputs: dict[str, str]) -> str:
    """Return one step of an ensemble, with a line for each tensor."""
    maps = [("input_map", *pair) for pair in inputs.items()] + [("output_map", *pair) for pair in outputs.items()]
    lines = "\n".join(f'    {field} {{ key: "{key}" value: "{tensor}" }}' for field, key, tensor in maps)
    return f'  step {{\n    model_name: "{name}"\n    model_version: -1\n{lines}\n  }}'


def ensemble(repository: Path, *steps: str, name: str = "e", size: int = 8, extra: str = "", io: str = IO) -> None:
    body = "\n".join(steps)
    text = f'platform: "ensemble"\nmax_batch_size: {size}\n{io}ensemble_scheduling {{\n{body}\n}}\n{extra}'
    model(repository, text, name=name)


def chain(repository: Path, second: str = BATCHES, **options: object) -> None:
    """Write an ensemble of two identity models."""
    model(repository, BATCHES, name="a")
    model(repository, second, name="b")
    ensemble(repository, THROUGH_A, THROUGH_B, **options)


THROUGH_A = step("a", {"INPUT0": "INPUT0"}, {"OUTPUT0": "between"})
THROUGH_B = step("b", {"INPUT0": "between"}, {"OUTPUT0": "OUTPUT0"})

IDS = 'name: "{}" data_type: TYPE_INT64 dims: [ -1 ]'
TEXT = '{ name: "text" data_type: TYPE_STRING dims: [ 1 ] }'
SCORES = '{ name: "scores" data_type: TYPE_FP32 dims: [ 2 ] }'
TOKENIZER_IO = f"input [ {TEXT} ]\noutput [ {SCORES} ]\n"


def tokenizer_and_model(repository: Path, given: tuple[str, ...], taken: tuple[str, ...]) -> None:
    """Write an ensemble whose tokenizer has other outputs than its model has inputs."""
    outputs = ", ".join(f"{{ {IDS.format(name)} }}" for name in given)
    inputs = ", ".join(f"{{ {IDS.format(name)} }}" for name in taken)
    python = 'backend: "python"\nmax_batch_size: 8\n'
    for name, io in (
        ("tokenizer", f"input [ {TEXT} ]\noutput [ {outputs} ]\n"),
        ("encoder", f"input [ {inputs} ]\noutput [ {SCORES} ]\n"),
    ):
        (model(repository, python + io, name=name) / "1" / "model.py").write_text(IGNORANT)
    ids = {name: name for name in given}
    ensemble(
        repository,
        step("tokenizer", {"text": "text"}, ids),
        step("encoder", ids, {"scores": "scores"}),
        io=TOKENIZER_IO,
    )


def labels(repository: Path, text: str | None) -> None:
    directory = model(
        repository, BATCHES.replace("dims: [ 4 ] } ]\n", 'dims: [ 4 ]\n  label_filename: "labels.txt" } ]\n')
    )
    config = (directory / "config.pbtxt").read_text().replace('label_filename: "labels.txt" } ]', "} ]", 1)
    (directory / "config.pbtxt").write_text(config)
    if text is not None:
        (directory / "labels.txt").write_text(text)


def python_model(repository: Path, code: str, config: str = 'backend: "python"\n') -> None:
    (model(repository, config) / "1" / "model.py").write_text(code)


def add(line: str, config: str = BATCHES) -> Write:
    """Return a function that writes a model with one more line in its config."""
    return lambda repository: model(repository, f"{config}{line}\n")


def swap(old: str, new: str, config: str = BATCHES) -> Write:
    """Return a function that writes a model with `new` instead of `old` in its config."""
    assert old in config
    return lambda repository: model(repository, config.replace(old, new))


def swap_onnx(old: str, new: str) -> Write:
    return lambda repository: onnx_model(repository, ONNX.replace(old, new))


def two_inputs(repository: Path) -> None:
    graphs.two_outputs(
        model(
            repository,
            """backend: "onnxruntime"
max_batch_size: 8
dynamic_batching { }
input [ { name: "a" data_type: TYPE_FP32 dims: [ 2 ] } ]
output [ { name: "sum" data_type: TYPE_FP32 dims: [ 2 ] } ]
""",
        )
    )


def shapeless(repository: Path) -> None:
    graphs.identity(model(repository, 'backend: "onnxruntime"\n'), TensorProto.FLOAT, shape=None)


def broken_graph(repository: Path) -> None:
    (model(repository, ONNX) / "1" / "model.onnx").write_bytes(b"no graph")


def mixed_types(repository: Path) -> None:
    chain(
        repository,
        BATCHES.replace("TYPE_FP32", "TYPE_INT64"),
        io=IO.replace('"OUTPUT0" data_type: TYPE_FP32', '"OUTPUT0" data_type: TYPE_INT64'),
    )


def mixed_dims(repository: Path) -> None:
    chain(
        repository,
        BATCHES.replace("[ 4 ]", "[ 4, 2 ]"),
        io=IO.replace('"OUTPUT0" data_type: TYPE_FP32 dims: [ 4 ]', '"OUTPUT0" data_type: TYPE_FP32 dims: [ 4, 2 ]'),
    )


def wrap(repository: Path, *steps: str, **options: object) -> None:
    """Write an ensemble of the identity models a and b with other steps than `chain`."""
    for name in ("a", "b"):
        model(repository, BATCHES, name=name)
    ensemble(repository, *steps, **options)


def self_made(repository: Path) -> None:
    through = {"INPUT0": "INPUT0"}
    ensemble(repository, step("f", through, {"OUTPUT0": "OUTPUT0"}))
    ensemble(repository, step("e", through, {"OUTPUT0": "OUTPUT0"}), name="f")


def circle(repository: Path) -> None:
    both = BATCHES.replace("} ]\n", '}, { name: "INPUT1" data_type: TYPE_FP32 dims: [ 4 ] } ]\n', 1)
    chain(repository, both)
    ensemble(
        repository,
        step("b", {"INPUT0": "INPUT0", "INPUT1": "second"}, {"OUTPUT0": "first"}),
        step("a", {"INPUT0": "first"}, {"OUTPUT0": "second"}),
        step("a", {"INPUT0": "second"}, {"OUTPUT0": "OUTPUT0"}),
    )


def unwritten(repository: Path) -> None:
    wrap(repository, THROUGH_A.replace("between", "betwen"), THROUGH_B)


def twice(repository: Path) -> None:
    wrap(repository, THROUGH_A, THROUGH_B, step("b", {"INPUT0": "between"}, {"OUTPUT0": "OUTPUT0"}))


def stray(repository: Path) -> None:
    model(repository)
    (repository / "notes").mkdir()


def blank(repository: Path) -> None:
    model(repository)
    model(repository, BATCHES, name="preprocess_1 ")


def weights_only(repository: Path) -> None:
    (model(repository, 'backend: "openvino"\n' + IO) / "1" / "model.xml").write_text("<net/>")


def renamed_version(repository: Path) -> None:
    (model(repository) / "1.0.0").mkdir()


def unreadable(repository: Path) -> None:
    (model(repository) / "config.pbtxt").write_bytes(b'name: "\xff"')


def completion(repository: Path) -> None:
    code = "class TritonPythonModel:\n    @staticmethod\n    def auto_complete_config(config):\n"
    python_model(repository, code + '        raise ValueError("no such tokenizer")\n')


VARIABLE = BATCHES.replace("[ 4 ]", "[ -1 ]") + "dynamic_batching { }\n"


def lengths(pad_values: str) -> str:
    return f'parameters {{ key: "LENGTH_BATCHING_PAD_VALUES" value {{ string_value: "{pad_values}" }} }}'


IGNORANT = "class TritonPythonModel:\n    def execute(self, requests): ...\n"
PASSED_OVER = f"""backend: "python"
{IO}response_cache {{ enable: true }}
instance_group [ {{ kind: KIND_CPU host_policy: "p" rate_limiter {{ resources [ {{ name: "R1" count: 4 }} ] }} }} ]
batch_input [ {{ target_name: "n" data_type: TYPE_INT32 source_input: "INPUT0" }} ]
parameters {{ key: "EXECUTION_ENV_PATH" value {{ string_value: "$$TRITON_MODEL_DIRECTORY/env.tar.gz" }} }}
parameters {{ key: "EXECUTION_MODE" value {{ string_value: "thread" }} }}
"""
GROUP = 'instance_group [ {{ name: "g" {} }} ]'
SEQUENCE = "sequence_batching { oldest { preferred_batch_size: [ 16 ] } }"


def limited(repository: Path) -> None:
    resources = "rate_limiter {{ resources [ {} ] }}"
    shared = GROUP.format(resources.format('{ name: "R" count: 1 }, { name: "R" count: 2 }, { name: "S" }'))
    model(repository, BATCHES + shared, name="a")
    shared = GROUP.format(resources.format('{ name: "R" global: true count: 2 }'))
    model(repository, BATCHES + shared, name="b")


CASES: dict[str, Write] = {
    "config-unreadable": unreadable,
    "syntax-error": swap("max_batch_size: 8", 'max_batch_size: "8"'),
    "unknown-field": add("dynamic_batching {\n  prefered_batch_size: [ 4 ]\n  color: 3\n}\nmax_batchsize: 4"),
    "unknown-value": swap("TYPE_FP32", "FP32"),
    "template-unfilled": add(
        'parameters { key: "dir" value { string_value: "${engine_dir}" } }\n'
        "dynamic_batching { max_queue_delay_microseconds: ${delay} }"
    ),
    "no-models": lambda repository: repository.mkdir(exist_ok=True),
    "stray-directory": stray,
    "directory-name-blank": blank,
    "name-not-directory": add('name: "other"'),
    "version-missing": lambda repository: model(repository, version=""),
    "version-ignored": renamed_version,
    "version-empty": lambda repository: model(repository, ONNX),
    "file-missing": weights_only,
    "label-file-missing": lambda repository: labels(repository, None),
    "label-count": lambda repository: labels(repository, "positive\nnegative\nneutral\n"),
    "platform-backend": add('platform: "pytorch_libtorch"', ONNX),
    "backend-unknown": swap("identity", "faster"),
    "completion-failed": completion,
    "field-missing": swap("data_type: TYPE_FP32 ", ""),
    "dims-invalid": swap("dims: [ 4 ]", "dims: [ 0 ]"),
    "reshape-mismatch": swap("dims: [ 4 ]", "dims: [ 4 ] reshape { shape: [ 3 ] }"),
    "tensor-declared-twice": add(IO),
    "max-batch-size-negative": swap("max_batch_size: 8", "max_batch_size: -1"),
    "preferred-size-not-positive": add("dynamic_batching { preferred_batch_size: [ 0, 4 ] }"),
    "preferred-size-above-max": add("dynamic_batching {\n  preferred_batch_size: [ 4, 16 ]\n}"),
    "priority-levels": add("dynamic_batching { priority_levels: 2 default_priority_level: 3 }"),
    "preserve-ordering": add(
        "dynamic_batching { preserve_ordering: true priority_levels: 2 default_priority_level: 1 }"
    ),
    "sequence-batching": add(
        "sequence_batching { control_input [ { control [ { kind: CONTROL_SEQUENCE_START } ] } ] }"
    ),
    "batch-tensors": add('batch_input [ { target_name: "n" data_type: TYPE_INT64 source_input: "z" } ]'),
    "length-batching": add(lengths("x=no z=0")),
    "output-untrimmed": add(lengths("INPUT0=0"), VARIABLE),
    "response-cache": add("response_cache { enable: true }\nmodel_transaction_policy { decoupled: true }"),
    "instance-group": add(GROUP.format("kind: KIND_CPU gpus: [ 0 ]")),
    "rate-limiter": limited,
    "limit-exceeded": add(GROUP.format("count: 2000")),
    "file-endless": lambda repository: os.mkfifo(model(repository) / "1" / "weights"),
    "file-outside": add('default_model_filename: "../model"'),
    "tensorrt-only": swap("dims: [ 4 ]", "dims: [ 4 ] is_shape_tensor: true"),
    "input-format": swap('"INPUT0" data_type: TYPE_FP32', '"INPUT0" format: FORMAT_NCHW data_type: TYPE_FP32'),
    "not-offered": add('runtime: "model.py"', f'backend: "pytorch"\n{IO}'),
    "without-effect": lambda repository: python_model(repository, IGNORANT, PASSED_OVER),
    "repository-agent": add('model_repository_agents { agents [ { name: "relocation" } ] }'),
    "preferred-size-unsorted": add("dynamic_batching { preferred_batch_size: [ 8, 4, 4 ] }"),
    "batching-without-max-batch-size": add("dynamic_batching { }", f'backend: "identity"\n{IO}'),
    "instance-count": add("instance_group [ { count: 0, kind: KIND_CPU } ]"),
    "gpu-on-cpu-host": add(
        "instance_group [ { kind: KIND_GPU } ]\noptimization {\n  cuda { graphs: true }\n"
        '  execution_accelerators { gpu_execution_accelerator [ { name: "tensorrt" } ] }\n}'
    ),
    "no-dynamic-batching": swap_onnx("dynamic_batching { }\n", ""),
    "threads-over-cores": swap_onnx(
        "dynamic_batching { }",
        "dynamic_batching { }\ninstance_group [ { count: 4 } ]\n"
        'parameters { key: "intra_op_thread_count" value { string_value: "4" } }',
    ),
    "tensors-undeclared": lambda repository: python_model(repository, "class TritonPythonModel: ..."),
    "graph-unreadable": broken_graph,
    "tensor-not-in-graph": swap_onnx('"x"', '"xx"'),
    "input-count": two_inputs,
    "datatype-not-graph": swap_onnx('"x" data_type: TYPE_FP32', '"x" data_type: TYPE_INT32'),
    "dims-not-graph": swap_onnx('"x" data_type: TYPE_FP32 dims: [ -1 ]', '"x" data_type: TYPE_FP32 dims: [ -1, -1 ]'),
    "dims-unknown": shapeless,
    "batch-axis-fixed": fixed_batch,
    "optional-input": swap_onnx(
        '"x" data_type: TYPE_FP32 dims: [ -1 ]', '"x" data_type: TYPE_FP32 dims: [ -1 ] optional: true'
    ),
    "ensemble-field": lambda repository: chain(repository, extra="instance_group [ { count: 2 } ]\n"),
    "ensemble-batch-size": lambda repository: chain(repository, BATCHES.replace("8", "4")),
    "step-model-missing": lambda repository: wrap(repository, THROUGH_A.replace('"a"', '"finbert"'), THROUGH_B),
    "ensemble-cycle": self_made,
    "tensor-cycle": circle,
    "tensor-unused": lambda repository: wrap(
        repository, THROUGH_A, THROUGH_B, step("a", {"INPUT0": "INPUT0"}, {"OUTPUT0": "spare"})
    ),
    "tensor-not-produced": unwritten,
    "tensor-produced-twice": twice,
    "step-input-unknown": lambda repository: wrap(
        repository, THROUGH_A.replace('key: "INPUT0"', 'key: "IN"'), THROUGH_B
    ),
    "step-output-unknown": lambda repository: wrap(
        repository, THROUGH_A.replace('key: "OUTPUT0"', 'key: "OUT"'), THROUGH_B
    ),
    "step-input-unmapped": lambda repository: chain(
        repository, BATCHES.replace("} ]\n", '}, { name: "INPUT1" data_type: TYPE_FP32 dims: [ 4 ] } ]\n', 1)
    ),
    "step-datatype-mismatch": mixed_types,
    "step-dims-mismatch": mixed_dims,
    "tokenizer-input-unknown": lambda repository: tokenizer_and_model(
        repository, ("input_ids", "attention_mask", "token_type_ids"), ("input_ids", "attention_mask")
    ),
    "tokenizer-input-missing": lambda repository: tokenizer_and_model(
        repository, ("input_ids", "attention_mask"), ("input_ids", "attention_mask", "token_type_ids")
    ),
}
