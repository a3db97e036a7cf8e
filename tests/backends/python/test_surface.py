"""What `triton_python_backend_utils` offers besides tensors and calls: requests, senders, metrics, log, models."""

from __future__ import annotations

import logging

import pytest

from slipway.core.request import SEQUENCE_START


def test_a_request_says_all_a_model_may_know(lab):
    expression = "request.request_id(), request.correlation_id(), request.flags(), request.timeout()"
    given = {"id": "me", "correlation_id": "seq", "flags": SEQUENCE_START, "timeout_us": 9_000_000}
    assert lab.ask(expression, **given) == ["me", "seq", "1", "9000000"]
    assert lab.ask(expression) == ["", "0", "0", "0"]
    assert lab.ask("request.trace().get_context(), request.is_cancelled()") == ["None", "False"]


def test_parameters_come_as_json(lab):
    given = {"a": 1, "b": True, "c": "x\n", "d": 1.5}
    assert lab.ask("request.parameters()", parameters=given) == '{"a":1,"b":true,"c":"x\\n","d":1.5}'
    assert lab.ask("request.parameters()") == "{}"


def test_a_response_may_carry_parameters(lab):
    body = """
    answer = text("x")
    return [pb_utils.InferenceResponse(answer.output_tensors(), parameters={"a": 1, "b": True, "c": "x"})]
    """
    assert lab.response(body).parameters == {"a": 1, "b": True, "c": "x"}


def test_a_response_says_what_it_is(lab):
    assert lab.ask("text(1).has_error(), text(1).error(), text(1).parameters()") == ["False", "None", "{}"]
    error = "pb_utils.InferenceResponse(error=pb_utils.TritonError('why'))"
    assert lab.ask(f"{error}.has_error(), {error}.error().message(), {error}.output_tensors()") == ["True", "why", "[]"]
    assert lab.ask("pb_utils.get_output_tensor_by_name(text(1), 'OUT').shape()") == "[1]"
    assert lab.ask("pb_utils.get_output_tensor_by_name(text(1), 'NOPE')") == "None"


@pytest.mark.parametrize(
    ("expression", "message"),
    {
        "call('m', '', correlation_id=1.5)": "TritonModelException: Correlation ID must be integer or string",
        "call('m', '', parameters={1: 2})": "TritonModelException: Expect parameters keys to have type str, found type "
        "<class 'int'>",
        "call('m', '', parameters={'a': 1.5})": "TritonModelException: Expect parameters values to have type "
        "bool/int/str, found type <class 'float'>",
        "pb_utils.InferenceRequest(model_name='m', requested_output_names=[], inputs=[None])": "TritonModelException: "
        "Input tensor for request with id '' and model name 'm' should not be empty.",
        "pb_utils.InferenceResponse([None])": "TritonModelException: Output tensor for inference response should not "
        "be empty.",
    }.items(),
)
def test_what_cannot_be_sent_is_refused_in_tritons_words(lab, expression, message):
    assert lab.ask(f"attempt(lambda: {expression})") == message


@pytest.mark.parametrize(
    "expression",
    [
        "pb_utils.InferenceRequest()",
        "call('m', '', requested_output_names='OUT')",
        "call('m', '', timeout=-1)",
        "pb_utils.InferenceResponse(None)",
        "pb_utils.InferenceResponse([1])",
        "pb_utils.InferenceResponse([], error='x')",
        "pb_utils.TritonError(3)",
        "pb_utils.TritonError('m', 3)",
        "pb_utils.Logger.log_info(3)",
    ],
)
def test_arguments_of_a_wrong_type_are_type_errors(lab, expression):
    assert lab.ask(f"attempt(lambda: {expression})").startswith("TypeError: ")


def test_constants_have_tritons_values(lab):
    names = (
        "TRITONSERVER_REQUEST_FLAG_SEQUENCE_START",
        "TRITONSERVER_REQUEST_FLAG_SEQUENCE_END",
        "TRITONSERVER_RESPONSE_COMPLETE_FINAL",
        "TRITONSERVER_REQUEST_RELEASE_ALL",
        "TRITONSERVER_REQUEST_RELEASE_RESCHEDULE",
        "TRITONSERVER_MEMORY_GPU",
        "TRITONSERVER_MEMORY_CPU",
    )
    listed = ", ".join(f"int(pb_utils.{name})" for name in names)
    assert lab.ask(listed) == ["1", "2", "1", "1", "2", "0", "1"]


def test_type_tables(lab):
    expression = (
        "pb_utils.triton_string_to_numpy('TYPE_FP16') is np.float16, pb_utils.triton_string_to_numpy('TYPE_STRING') is "
        "np.object_, pb_utils.triton_to_numpy_type(11) is np.float32, pb_utils.numpy_to_triton_type(np.int64), "
        "pb_utils.numpy_to_triton_type(np.object_), pb_utils.TRITON_STRING_TO_NUMPY['TYPE_BOOL']"
    )
    assert lab.ask(expression) == ["True", "True", "True", "9", "13", "<class 'bool'>"]


def test_the_configuration_is_passed_and_searched(lab):
    config = "json.loads(self.args['model_config'])"
    assert lab.ask(f"pb_utils.get_output_config_by_name({config}, 'OUT_FP16')['data_type']") == "TYPE_FP16"
    assert lab.ask(f"pb_utils.get_input_config_by_name({config}, 'CODE')['dims']") == "[1]"
    assert lab.ask(f"pb_utils.get_input_config_by_name({config}, 'NOPE')") == "None"
    assert lab.ask(f"pb_utils.using_decoupled_model_transaction_policy({config})") == "False"


def test_a_model_gets_its_name_and_version(lab):
    told = {
        "model_name": "lab",
        "model_version": "1",
        "model_instance_name": "lab_0",
        "model_instance_kind": "CPU",
        "model_instance_device_id": "0",
        "model_repository": str(lab.repository / "lab"),
    }
    listed = ", ".join(f"self.args[{key!r}]" for key in told)
    assert lab.ask(listed) == list(told.values())
    assert lab.ask("pb_utils.get_model_dir()") == str(lab.repository / "lab" / "1")


@pytest.mark.parametrize(
    ("call", "level"),
    {
        "log_info('said {0} %s')": logging.INFO,
        "log_warn('said {0} %s')": logging.WARNING,
        "log_error('said {0} %s')": logging.ERROR,
        "log('said {0} %s')": logging.INFO,
        "log('said {0} %s', pb_utils.Logger.WARNING)": logging.WARNING,
    }.items(),
)
def test_a_line_reaches_the_servers_log_with_the_models_file_and_line(lab, caplog, call, level):
    with caplog.at_level(logging.INFO):
        lab.ask(f"\npb_utils.Logger.{call}\nreturn [text(1)]")
    [line] = [record for record in caplog.records if record.getMessage() == "said {0} %s"]
    assert (line.levelno, line.filename, line.lineno) == (level, "<string>", 2)


def metrics_of(lab):
    """Return every series that models defined: family, labels and value."""
    return {
        (family.name, family.kind, dict(labels)["k"]): series.value
        for family in lab.engine.metrics.families()
        for labels, series in family.series()
    }


def test_a_metric_is_shown_while_the_model_holds_it(lab):
    body = """
    family = pb_utils.MetricFamily("held", "what it counts", pb_utils.MetricFamily.COUNTER)
    metric = family.Metric(labels={"k": "v"})
    metric.increment(2)
    metric.increment(0.5)
    self.kept[:] = [family, metric]
    return [text(metric.value())]
    """
    assert lab.ask(body) == "2.5"
    assert metrics_of(lab) == {("held", "counter", "v"): 2.5}
    lab.ask("self.kept.clear(), gc.collect()")
    lab.ask("'so that what went before is done'")
    assert metrics_of(lab) == {}


def test_a_gauge_is_set_and_a_histogram_observes(lab):
    body = """
    gauge = pb_utils.MetricFamily("gauge", "d", pb_utils.MetricFamily.GAUGE).Metric(labels={"k": "g"})
    gauge.set(3)
    gauge.increment(-1)
    family = pb_utils.MetricFamily("times", "d", pb_utils.MetricFamily.HISTOGRAM)
    times = family.Metric(labels={"k": "h"}, buckets=[1, 2])
    times.observe(1.5)
    self.kept[:] = [gauge, times]
    return [text(gauge.value())]
    """
    assert lab.ask(body) == "2.0"
    [series] = [
        series for family in lab.engine.metrics.families() if family.name == "times" for _, series in family.series()
    ]
    assert series.histogram is not None
    lab.ask("self.kept.clear(), gc.collect()")


FAILED = "Failed to process the request for model 'lab_0', message: "
MAKE = "pb_utils.MetricFamily('f', 'd', pb_utils.MetricFamily.{kind}).Metric({given})"
MISUSE = {
    MAKE.format(kind="COUNTER", given="") + ".increment(-1)": f"Failed to increment metric value: {FAILED}"
    "TRITONSERVER_METRIC_KIND_COUNTER can only be incremented monotonically by non-negative values.",
    MAKE.format(kind="COUNTER", given="") + ".set(1)": f"Failed to set metric value: {FAILED}"
    "TRITONSERVER_METRIC_KIND_COUNTER does not support Set",
    MAKE.format(kind="COUNTER", given="") + ".observe(1)": f"Failed to observe metric value: {FAILED}"
    "TRITONSERVER_METRIC_KIND_COUNTER does not support Observe",
    MAKE.format(kind="COUNTER", given="labels=3"): "Failed to create metric. Labels must be a dictionary.",
    MAKE.format(kind="COUNTER", given="labels={'a': 3}"): f"Error when creating Metric: {FAILED}attempt to access JSON "
    "non-string as string",
    MAKE.format(kind="COUNTER", given="labels={1: 'x'}"): f"Error when creating Metric: {FAILED}Invalid label name",
    MAKE.format(kind="COUNTER", given="buckets=[1]"): "Failed to create metric. Unexpected buckets found.",
    "pb_utils.MetricFamily('h', 'd', pb_utils.MetricFamily.HISTOGRAM).Metric()": "Failed to create metric. Missing "
    "required buckets.",
    "pb_utils.MetricFamily('h', 'd', pb_utils.MetricFamily.HISTOGRAM).Metric(buckets=[2, 1])": "Error when creating "
    f"Metric: {FAILED}Bucket Boundaries must be strictly sorted",
    "pb_utils.MetricFamily('bad name', 'd', pb_utils.MetricFamily.GAUGE)": "Error when creating MetricFamily: "
    f"{FAILED}Invalid metric name",
}


@pytest.mark.parametrize(("expression", "message"), MISUSE.items())
def test_misuse_of_a_metric_is_refused_in_tritons_words(lab, expression, message):
    assert lab.ask(f"attempt(lambda: {expression})") == f"TritonModelException: {message}"


def test_a_family_of_another_kind_is_refused(lab):
    body = """
    self.kept[:] = [pb_utils.MetricFamily("same", "d", pb_utils.MetricFamily.COUNTER)]
    return [text(attempt(lambda: pb_utils.MetricFamily("same", "d", pb_utils.MetricFamily.GAUGE)))]
    """
    assert lab.ask(body).startswith("TritonModelException: Error when creating MetricFamily: ")


def test_a_model_loads_and_unloads_others(lab):
    states = (
        "pb_utils.is_model_ready('other'), pb_utils.is_model_ready('other', '1'), pb_utils.is_model_ready('other', '9')"
    )
    assert lab.ask(states) == ["True", "True", "False"]
    lab.ask("pb_utils.unload_model('other')")
    lab.ask("while pb_utils.is_model_ready('other'): time.sleep(0.001)\nreturn [text(1)]")
    assert lab.ask("pb_utils.load_model('other'), pb_utils.is_model_ready('other')") == ["None", "True"]
    assert lab.ask("return [text(*texts(call('other', 'return [text(8)]').exec()))]") == "8"


def test_what_cannot_be_loaded_is_reported_in_tritons_words(lab):
    assert lab.ask("attempt(lambda: pb_utils.load_model('nope'))") == (
        "TritonModelException: Failed to load model: Failed to process the request for model 'lab_0', message: failed "
        "to load 'nope', failed to poll from model repository"
    )
    assert lab.ask("pb_utils.is_model_ready('nope')") == "False"
    assert lab.ask("attempt(lambda: pb_utils.load_model('other', files=[1]))") == (
        "TritonModelException: failed to load model 'other', files should be a dictionary of file paths and file "
        "contents"
    )
    assert lab.ask("attempt(lambda: pb_utils.load_model('other', files={'1/model.py': b''}))") == (
        "TritonModelException: failed to load model 'other', unrecognized parameter '1/model.py'"
    )
    assert lab.ask("attempt(lambda: pb_utils.load_model('other', files={'file:1/model.py': 'str'}))").startswith(
        "TypeError"
    )


def test_a_model_is_loaded_from_what_another_gives(lab):
    body = """
    config = {"backend": "identity",
              "input": [{"name": "INPUT0", "data_type": "TYPE_FP32", "dims": [1]}],
              "output": [{"name": "OUTPUT0", "data_type": "TYPE_FP32", "dims": [1]}]}
    pb_utils.load_model("given", json.dumps(config), {"file:1/anything": b"\\0"})
    asked = pb_utils.InferenceRequest(
        model_name="given", requested_output_names=["OUTPUT0"],
        inputs=[pb_utils.Tensor("INPUT0", np.ones(1, np.float32))])
    answer = asked.exec()
    pb_utils.unload_model("given")
    return [text(answer.has_error() or answer.output_tensors()[0].as_numpy())]
    """
    assert lab.ask(body) == "[1.]"


def test_the_types_of_the_stub_have_the_stubs_module_too(lab):
    """Models annotate with `c_python_backend_utils`, and build answers from it."""
    body = """
    import c_python_backend_utils as stub
    answer = stub.InferenceResponse(output_tensors=[stub.Tensor("OUT", np.array(["made"], dtype=np.object_))])
    assert isinstance(request, stub.InferenceRequest) and isinstance(answer, pb_utils.InferenceResponse)
    return [answer]
    """
    assert lab.response(body).outputs[0].array.tolist() == [b"made"]
    assert lab.ask("__import__('c_python_backend_utils').COUNTER is pb_utils.MetricKind.COUNTER") == "True"


def test_what_tritons_file_imports_can_be_reached_through_it(lab):
    assert lab.ask("pb_utils.np is np, pb_utils.json is json, pb_utils.__file__.endswith('.py')") == ["True"] * 3
