"""Calls of `triton_python_backend_utils` with wrong arguments, as expressions, and the model that tries them.

Errors that the server raises are not among them: Triton 2.51 may crash on them. `t` is a tensor, `r` a request, `s` a
response, `f` a gauge's family, `h` a histogram's, `sender` a response sender.
"""

from __future__ import annotations

from typing import Final

_TENSOR = "pb_utils.Tensor({})"
_REQUEST = "pb_utils.InferenceRequest({})"
_ASKED = "model_name='m', requested_output_names=[], inputs=[t]"
_FAMILY = "pb_utils.MetricFamily({})"

EXPRESSIONS: Final[tuple[str, ...]] = (
    *(
        _TENSOR.format(words)
        for words in (
            "",
            "'x'",
            "1, np.zeros(1)",
            "'x', [1]",
            "'x', None",
            "None, np.zeros(1)",
            "'x', 3.5",
            "'x', np.zeros(1), 3",
            "name='x', array=np.zeros(1)",
            "'x', array=np.zeros(1)",
            "'', np.zeros(1)",
            "'x', np.zeros(1, dtype=complex)",
            "'x', np.array(['2020-01-01'], dtype='datetime64[D]')",
        )
    ),
    "pb_utils.Tensor.from_dlpack()",
    "pb_utils.Tensor.from_dlpack('x')",
    "pb_utils.Tensor.from_dlpack('x', 3)",
    "pb_utils.Tensor.from_dlpack(3, t)",
    "pb_utils.Tensor.from_dlpack('', t)",
    "t.to_dlpack(3)",
    "t.name(1)",
    "t.as_numpy(1)",
    *(
        _REQUEST.format(words)
        for words in (
            "",
            "model_name='m'",
            "model_name='m', inputs=[t]",
            "model_name='m', requested_output_names=[]",
            "requested_output_names=[], inputs=[t]",
            "model_name='m', requested_output_names=[], inputs=None",
            "model_name='m', requested_output_names=[], inputs=t",
            "model_name='m', requested_output_names=[], inputs=[1]",
            "model_name='m', requested_output_names=[], inputs=[None]",
            "model_name='m', requested_output_names=[], inputs=(t,)",
            "model_name='m', requested_output_names=[], inputs={'x': t}",
            "model_name='m', requested_output_names=None, inputs=[t]",
            "model_name='m', requested_output_names='OUT', inputs=[t]",
            "model_name='m', requested_output_names=[1], inputs=[t]",
            "model_name='m', requested_output_names=('OUT',), inputs=[t]",
            "model_name='m', requested_output_names={'OUT'}, inputs=[t]",
            "model_name=3, requested_output_names=[], inputs=[t]",
            "model_name=None, requested_output_names=[], inputs=[t]",
            "model_name=b'm', requested_output_names=[], inputs=[t]",
            f"{_ASKED}, request_id=None",
            f"{_ASKED}, request_id=3",
            f"{_ASKED}, correlation_id=None",
            f"{_ASKED}, correlation_id=1.5",
            f"{_ASKED}, correlation_id=True",
            f"{_ASKED}, correlation_id=-1",
            f"{_ASKED}, correlation_id=2**64",
            f"{_ASKED}, correlation_id=b'x'",
            f"{_ASKED}, model_version='1'",
            f"{_ASKED}, model_version=1.5",
            f"{_ASKED}, model_version=None",
            f"{_ASKED}, model_version=2**63",
            f"{_ASKED}, flags=-1",
            f"{_ASKED}, flags='x'",
            f"{_ASKED}, flags=2**32",
            f"{_ASKED}, flags=None",
            f"{_ASKED}, timeout=-1",
            f"{_ASKED}, timeout=1.5",
            f"{_ASKED}, timeout='x'",
            f"{_ASKED}, timeout=2**64",
            f"{_ASKED}, preferred_memory=3",
            f"{_ASKED}, preferred_memory=None",
            f"{_ASKED}, trace=3",
            f"{_ASKED}, trace=None",
            f"{_ASKED}, parameters=3",
            f"{_ASKED}, parameters=[1]",
            f"{_ASKED}, parameters=None",
            f"{_ASKED}, parameters={{1: 2}}",
            f"{_ASKED}, parameters={{'a': 1.5}}",
            f"{_ASKED}, parameters={{'a': None}}",
            f"{_ASKED}, parameters={{'a': b'x'}}",
            f"{_ASKED}, color=3",
            "'id', 1, [t], ['OUT'], 'm', 1, 0, 0",
        )
    ),
    "r.exec(decoupled='x')",
    "r.exec(decoupled=None)",
    "r.exec(1, 2)",
    "r.exec(color=1)",
    "r.async_exec(decoupled='x')",
    "r.set_flags('x')",
    "r.set_flags(-1)",
    "r.set_flags()",
    "r.set_release_flags('x')",
    "r.set_release_flags(2**32)",
    *(
        f"pb_utils.InferenceResponse({words})"
        for words in (
            "None",
            "3",
            "t",
            "[1]",
            "[None]",
            "[t, None]",
            "(t,)",
            "[t], 'x'",
            "[t], error='x'",
            "[t], error=None",
            "error=pb_utils.TritonError('e')",
            "[t], parameters=3",
            "[t], parameters=[1]",
            "[t], parameters={1: 2}",
            "[t], parameters={'a': 1.5}",
            "[t], parameters={'a': [1]}",
            "outputs=[t]",
            "[t], None, None, None",
        )
    ),
    *(
        f"pb_utils.TritonError({words})"
        for words in (
            "",
            "3",
            "None",
            "b'x'",
            "'e', 3",
            "'e', None",
            "'e', code='x'",
            "message='e', code=pb_utils.TritonError.NOT_FOUND",
            "text='e'",
            "'e', pb_utils.TritonError.NOT_FOUND, 3",
        )
    ),
    *(
        f"pb_utils.PreferredMemory({words})"
        for words in (
            "",
            "3",
            "None",
            "pb_utils.TRITONSERVER_MEMORY_CPU, 'x'",
            "pb_utils.TRITONSERVER_MEMORY_CPU, None",
            "pb_utils.TRITONSERVER_MEMORY_CPU, 1.5",
            "pb_utils.TRITONSERVER_MEMORY_CPU, 0, 0",
            "memory=pb_utils.TRITONSERVER_MEMORY_CPU",
        )
    ),
    *(
        _FAMILY.format(words)
        for words in (
            "",
            "'pyrest_a'",
            "'pyrest_a', 'text'",
            "'pyrest_a', 'text', 3",
            "'pyrest_a', 'text', 'counter'",
            "'pyrest_a', 'text', None",
            "3, 'text', pb_utils.MetricFamily.GAUGE",
            "'pyrest_a', None, pb_utils.MetricFamily.GAUGE",
            "name='pyrest_a', text='x', kind=pb_utils.MetricFamily.GAUGE",
        )
    ),
    "f.Metric(3)",
    "f.Metric(labels=[1])",
    "f.Metric(buckets=3)",
    "f.Metric(buckets='x')",
    "f.Metric(buckets=[1])",
    "f.Metric(color=1)",
    "h.Metric(labels={'a': '1'})",
    "h.Metric(labels={'a': '2'}, buckets=['x'])",
    "h.Metric(labels={'a': '4'}, buckets=3)",
    "h.Metric(labels={'a': '5'}, buckets={1: 2})",
    "h.Metric(labels={'a': '6'}, buckets=[])",
    "f.Metric().increment()",
    "f.Metric().increment('x')",
    "f.Metric().set('x')",
    "f.Metric().set(None)",
    "f.Metric().value(1)",
    "pb_utils.Metric()",
    "sender.send('x')",
    "sender.send(3)",
    "sender.send(s, 'x')",
    "sender.send(s, None)",
    "sender.send(s, 1, 2)",
    "sender.send(response=s, flag=1)",
    "sender.send(s, -1)",
    "sender.send(s, 7)",
    "sender.send()",
    "sender.send(None, 0)",
    "pb_utils.InferenceResponseSender()",
    "pb_utils.Logger()",
    "pb_utils.Logger.log_info()",
    "pb_utils.Logger.log_info(3)",
    "pb_utils.Logger.log_info(None)",
    "pb_utils.Logger.log('x', 3)",
    "pb_utils.Logger.log('x', None)",
    "pb_utils.Logger.log(level=pb_utils.Logger.INFO)",
    "pb_utils.Logger.log_warn('a', 'b')",
    "pb_utils.load_model()",
    "pb_utils.load_model(3)",
    "pb_utils.load_model('m', config=3)",
    "pb_utils.load_model('m', config=None)",
    "pb_utils.load_model('m', files=3)",
    "pb_utils.load_model('m', files={1: b'x'})",
    "pb_utils.load_model('m', files={'file:1/model.py': 'x'})",
    "pb_utils.unload_model()",
    "pb_utils.unload_model(3)",
    "pb_utils.unload_model('m', 'x')",
    "pb_utils.is_model_ready()",
    "pb_utils.is_model_ready(3)",
    "pb_utils.is_model_ready('m', 3)",
    "pb_utils.is_model_ready('m', None)",
    "pb_utils.ModelConfig()",
    "pb_utils.triton_string_to_numpy('TYPE_NOPE')",
    "pb_utils.triton_to_numpy_type(99)",
    "pb_utils.numpy_to_triton_type(complex)",
)

# Answers each CODE with the text of the exception that it raises, or with "fine".
MODEL: Final = """
import numpy as np
import triton_python_backend_utils as pb_utils


def attempt(code, names):
    try:
        eval(code, globals(), names)
        return "fine"
    except BaseException as error:
        return f"{type(error).__name__}: {error}"


class TritonPythonModel:
    def initialize(self, args):
        self.f = pb_utils.MetricFamily(name="pyrest_gauge", description="x", kind=pb_utils.MetricFamily.GAUGE)
        self.h = pb_utils.MetricFamily(name="pyrest_histogram", description="x", kind=pb_utils.MetricFamily.HISTOGRAM)

    def execute(self, requests):
        responses = []
        for request in requests:
            codes = pb_utils.get_input_tensor_by_name(request, "CODE").as_numpy()
            t = pb_utils.Tensor("x", np.zeros(1, np.float32))
            names = {
                "t": t,
                "r": pb_utils.InferenceRequest(model_name="m", requested_output_names=["OUT"], inputs=[t]),
                "s": pb_utils.InferenceResponse([t]),
                "f": self.f,
                "h": self.h,
                "sender": request.get_response_sender(),
            }
            said = [attempt(code.decode(), names) for code in codes]
            array = np.array([text.encode() for text in said], dtype=np.object_)
            responses.append(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)]))
        return responses
"""
CONFIG: Final = """backend: "python"
input [ { name: "CODE" data_type: TYPE_STRING dims: [ -1 ] } ]
output [ { name: "OUT" data_type: TYPE_STRING dims: [ -1 ] } ]
"""
