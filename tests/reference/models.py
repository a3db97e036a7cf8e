"""The repository that both servers serve: python models and ensembles only, which is what the reference can run."""

from __future__ import annotations

from pathlib import Path

HEADER = "import numpy as np\nimport triton_python_backend_utils as pb_utils\n\n\n"

PAIR = """\
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            a = pb_utils.get_input_tensor_by_name(request, "A").as_numpy()
            b = pb_utils.get_input_tensor_by_name(request, "B").as_numpy()
            tensors = [pb_utils.Tensor("SUM", a + b), pb_utils.Tensor("DIFF", a - b)]
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
"""

ECHO = """\
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            tensors = []
            for tensor in request.inputs():
                name = tensor.name().replace("IN", "OUT")
                tensors.append(pb_utils.Tensor(name, tensor.as_numpy()))
            responses.append(pb_utils.InferenceResponse(output_tensors=tensors))
        return responses
"""

MOODY = """\
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            code = int(pb_utils.get_input_tensor_by_name(request, "CODE").as_numpy().ravel()[0])
            if code == 99:
                raise ValueError("the model is in a bad mood")
            if code == 98:
                return []
            if code == 97:
                responses.append("not a response")
                continue
            codes = {
                1: pb_utils.TritonError.UNKNOWN,
                2: pb_utils.TritonError.INTERNAL,
                3: pb_utils.TritonError.NOT_FOUND,
                4: pb_utils.TritonError.INVALID_ARG,
                5: pb_utils.TritonError.UNAVAILABLE,
                6: pb_utils.TritonError.UNSUPPORTED,
                7: pb_utils.TritonError.ALREADY_EXISTS,
            }
            if code in codes:
                error = pb_utils.TritonError(f"mood {code}", codes[code])
                responses.append(pb_utils.InferenceResponse(output_tensors=[], error=error))
            elif code == 8:
                error = pb_utils.TritonError("plain")
                responses.append(pb_utils.InferenceResponse(output_tensors=[], error=error))
            else:
                tensor = pb_utils.Tensor("OUT", np.array([[code]], dtype=np.int32))
                responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
        return responses
"""

REPEAT = """\
class TritonPythonModel:
    def execute(self, requests):
        for request in requests:
            values = pb_utils.get_input_tensor_by_name(request, "IN").as_numpy().ravel()
            sender = request.get_response_sender()
            for value in values:
                tensor = pb_utils.Tensor("OUT", np.array([value], dtype=np.int32))
                sender.send(pb_utils.InferenceResponse(output_tensors=[tensor]))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
        return None
"""

PARAMETERS = """\
class TritonPythonModel:
    def execute(self, requests):
        responses = []
        for request in requests:
            text = "|".join([request.request_id(), str(request.correlation_id()), str(request.flags()),
                             request.parameters(), ",".join(sorted(request.requested_output_names()))])
            tensor = pb_utils.Tensor("OUT", np.array([text.encode()], dtype=np.object_))
            responses.append(pb_utils.InferenceResponse(output_tensors=[tensor]))
        return responses
"""

CONTROLLED = "controlled"  # the model that only the fuzz writes, loads and unloads

TYPES = {
    "BOOL": "TYPE_BOOL",
    "UINT8": "TYPE_UINT8",
    "UINT16": "TYPE_UINT16",
    "UINT32": "TYPE_UINT32",
    "UINT64": "TYPE_UINT64",
    "INT8": "TYPE_INT8",
    "INT16": "TYPE_INT16",
    "INT32": "TYPE_INT32",
    "INT64": "TYPE_INT64",
    "FP16": "TYPE_FP16",
    "FP32": "TYPE_FP32",
    "FP64": "TYPE_FP64",
    "BYTES": "TYPE_STRING",
}


def _io(field: str, *tensors: tuple[str, str, str]) -> str:
    rows = ", ".join(f'{{ name: "{name}" data_type: {kind} dims: [ {dims} ] }}' for name, kind, dims in tensors)
    return f"{field} [ {rows} ]\n"


def _python(repository: Path, name: str, source: str, config: str, versions: tuple[int, ...] = (1,)) -> None:
    for version in versions:
        directory = repository / name / str(version)
        directory.mkdir(parents=True)
        (directory / "model.py").write_text(HEADER + source)
    (repository / name / "config.pbtxt").write_text('backend: "python"\n' + config)


PAIR_IO = _io("input", ("A", "TYPE_FP32", "4"), ("B", "TYPE_FP32", "4")) + _io(
    "output", ("SUM", "TYPE_FP32", "4"), ("DIFF", "TYPE_FP32", "4")
)
CHAIN_STEPS = """\
ensemble_scheduling { step [
  { model_name: "pair" model_version: -1 input_map { key: "A" value: "X" } input_map { key: "B" value: "Y" }
    output_map { key: "SUM" value: "s" } output_map { key: "DIFF" value: "d" } },
  { model_name: "pair" model_version: -1 input_map { key: "A" value: "s" } input_map { key: "B" value: "d" }
    output_map { key: "SUM" value: "TWICE" } }
] }
"""
MOODY_STEPS = """\
ensemble_scheduling { step [
  { model_name: "moody" model_version: -1 input_map { key: "CODE" value: "IN" } output_map { key: "OUT" value: "OUT" } }
] }
"""


def write_repository(repository: Path) -> None:
    """Write every model of the comparison."""
    _python(repository, "pair", PAIR, "max_batch_size: 8\n" + PAIR_IO)
    _python(
        repository,
        "batched",
        PAIR,
        "max_batch_size: 8\n" + PAIR_IO + "dynamic_batching { preferred_batch_size: [ 4 ] }\n",
    )
    _python(
        repository,
        "nobatch",
        ECHO,
        _io("input", ("IN", "TYPE_INT32", "-1, 2")) + _io("output", ("OUT", "TYPE_INT32", "-1, 2")),
    )
    for datatype, kind in TYPES.items():
        _python(
            repository,
            f"echo_{datatype.lower()}",
            ECHO,
            "max_batch_size: 4\n" + _io("input", ("IN", kind, "-1")) + _io("output", ("OUT", kind, "-1")),
        )
    _python(
        repository,
        "optional",
        ECHO,
        "max_batch_size: 4\n"
        'input [ { name: "IN0" data_type: TYPE_FP32 dims: [ 2 ] }, '
        '{ name: "IN1" data_type: TYPE_FP32 dims: [ 2 ] optional: true } ]\n'
        + _io("output", ("OUT0", "TYPE_FP32", "2"), ("OUT1", "TYPE_FP32", "2")),
    )
    _python(
        repository,
        "moody",
        MOODY,
        "max_batch_size: 4\n" + _io("input", ("CODE", "TYPE_INT32", "1")) + _io("output", ("OUT", "TYPE_INT32", "1")),
    )
    _python(
        repository,
        "repeat",
        REPEAT,
        _io("input", ("IN", "TYPE_INT32", "-1"))
        + _io("output", ("OUT", "TYPE_INT32", "1"))
        + "model_transaction_policy { decoupled: true }\n",
    )
    _python(
        repository,
        "parameters",
        PARAMETERS,
        _io("input", ("IN", "TYPE_FP32", "1")) + _io("output", ("OUT", "TYPE_STRING", "1")),
    )
    _python(
        repository,
        "versions",
        ECHO,
        "max_batch_size: 4\nversion_policy { specific { versions: [ 1, 3 ] } }\n"
        + _io("input", ("IN", "TYPE_FP32", "2"))
        + _io("output", ("OUT", "TYPE_FP32", "2")),
        versions=(1, 2, 3),
    )
    _python(
        repository,
        "labelled",
        ECHO,
        "max_batch_size: 4\n"
        + _io("input", ("IN", "TYPE_FP32", "4"))
        + 'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] label_filename: "labels.txt" } ]\n',
    )
    (repository / "labelled" / "labels.txt").write_text("cat\ndog\nbird\n")
    _python(
        repository,
        "reshaped",
        ECHO,
        "max_batch_size: 4\n"
        'input [ { name: "IN" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } } ]\n'
        'output [ { name: "OUT" data_type: TYPE_FP32 dims: [ 4 ] reshape { shape: [ 2, 2 ] } } ]\n',
    )
    for name, steps, io in (
        (
            "chain",
            CHAIN_STEPS,
            _io("input", ("X", "TYPE_FP32", "4"), ("Y", "TYPE_FP32", "4")) + _io("output", ("TWICE", "TYPE_FP32", "4")),
        ),
        (
            "moody_chain",
            MOODY_STEPS,
            _io("input", ("IN", "TYPE_INT32", "1")) + _io("output", ("OUT", "TYPE_INT32", "1")),
        ),
    ):
        (repository / name / "1").mkdir(parents=True)
        batch = 8 if name == "chain" else 4
        (repository / name / "config.pbtxt").write_text(f'platform: "ensemble"\nmax_batch_size: {batch}\n' + io + steps)
