"""Models that run other models."""

from __future__ import annotations

import asyncio

import pytest

from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from tests.backends.python.lab import code

EXEC = "return [text(*texts(call('{model}', 'return [text(1, 2)]').exec()))]"
REFUSALS = {
    "call('nope', '')": "Model nope - Error when running inference: Failed for execute the inference request. Model "
    "'nope' is not ready.",
    "call('other', '', model_version=7)": "Model other - Error when running inference: Failed for execute the "
    "inference request. Model 'other' is not ready.",
    "call('stream', '')": "Model stream - Error when running inference: Model stream is using the decoupled. The "
    "current BLS request call doesn't support models using the decoupled transaction policy. Please use "
    "'decoupled=True' argument to the 'exec' or 'async_exec' calls for decoupled models.'",
    "call('other', '', requested_output_names=['BAD'])": "Model other - Error when running inference: unexpected "
    "inference output 'BAD' for model 'other'",
    "ask('X')": ("Model other - Error when running inference: unexpected inference input 'X' for model 'other'"),
    "ask('CODE')": (
        "Model other - Error when running inference: [request id: <id_unknown>] inference input 'CODE' data-type is "
        "'FP64', but model 'other' expects 'BYTES'"
    ),
}


def test_a_model_runs_another_and_gets_its_answer(lab):
    assert lab.ask(EXEC.format(model="other")) == ["1", "2"]


def test_a_coroutine_runs_several_models_at_a_time(lab):
    body = """
    answers = await asyncio.gather(*(call("other", f"return [text({n})]").async_exec() for n in range(3)))
    return [text(*(texts(answer)[0] for answer in answers))]
    """
    assert lab.ask(body, model="async_lab") == ["0", "1", "2"]


def test_async_exec_needs_a_running_loop(lab):
    assert lab.ask("attempt(lambda: call('other', '').async_exec())") == "RuntimeError: no running event loop"


@pytest.mark.parametrize("call", ["{call}.exec()", "await {call}.async_exec()"])
@pytest.mark.parametrize(("request_", "message"), REFUSALS.items())
def test_a_refusal_is_an_error_answer_with_tritons_text(lab, call, request_, message):
    body = f"""
    ask = lambda name: pb_utils.InferenceRequest(
        model_name="other", requested_output_names=[], inputs=[pb_utils.Tensor(name, np.zeros(1))])
    return [text(*texts({call.format(call=request_)}))]
    """
    assert lab.ask(body, model="async_lab") == ["INTERNAL", message]


def test_an_error_of_the_called_model_comes_as_it_is(lab):
    body = """
    script = "return [pb_utils.InferenceResponse(error=pb_utils.TritonError('gone', pb_utils.TritonError.NOT_FOUND))]"
    return [text(*texts(call("other", script).exec()))]
    """
    assert lab.ask(body) == ["NOT_FOUND", "gone"]
    code, message = lab.ask("return [text(*texts(call('other', 'raise ValueError(7)').exec()))]")
    assert code == "INTERNAL"
    assert message.startswith("Failed to process the request(s) for model 'other_0', message: ValueError: 7\n\nAt:\n")


def test_a_stream_gives_its_answers_as_they_come_and_an_empty_last_one(lab):
    body = """
    script = "[sender().send(text(n)) for n in range(3)]; sender().send(flags=1)"
    answers = [texts(answer) for answer in call("stream", script).exec(decoupled=True)]
    return [text(*answers)]
    """
    assert lab.ask(body) == ["['0']", "['1']", "['2']", "[]"]


def test_a_stream_of_a_coroutine_is_an_ordinary_iterator(lab):
    body = """
    script = "sender().send(text('a')); sender().send(text('b'), 1)"
    return [text(*(texts(answer) for answer in await call("stream", script).async_exec(decoupled=True)))]
    """
    assert lab.ask(body, model="async_lab") == ["['a']", "['b']"]


def test_a_model_that_is_not_decoupled_gives_a_stream_of_one_answer(lab):
    body = "return [text(*(texts(answer) for answer in call('other', 'return [text(1)]').exec(decoupled=True)))]"
    assert lab.ask(body) == "['1']"


def test_an_error_ends_a_stream(lab):
    body = """
    script = "sender().send(text('a')); raise ValueError('late')"
    return [text(*(answer.has_error() for answer in call("stream", script).exec(decoupled=True)))]
    """
    assert lab.ask(body) == ["False", "True"]


def test_a_stream_that_is_cancelled_cancels_the_called_model(lab):
    body = """
    script = '''
    s = sender(); s.send(text("first"))
    while not s.is_cancelled(): time.sleep(0.001)
    s.send(text("seen"), 1)'''
    answers = call("stream", script).exec(decoupled=True)
    first = texts(next(answers))
    answers.cancel()
    return [text(first, *(texts(answer) for answer in answers))]
    """
    assert lab.ask(body) == ["['first']", "['seen']"]


def test_a_stream_that_is_dropped_cancels_the_called_model(lab):
    body = """
    script = '''
    s = sender(); s.send(text("first"))
    while not s.is_cancelled(): time.sleep(0.001)
    s.send(flags=1)'''
    next(call("stream", script).exec(decoupled=True))
    return [text("dropped")]
    """
    assert lab.ask(body) == "dropped"
    assert lab.ask("sender().send(text('free again'), 1)", model="stream") == "free again"


def test_what_a_request_says_of_itself_reaches_the_called_model(lab):
    body = """
    say = "r = request; return [text(r.request_id(), r.correlation_id(), r.flags(), r.timeout(), r.parameters())]"
    given = dict(request_id="me", correlation_id="seq", flags=3, timeout=5_000_000)
    return [text(*texts(call("other", say, parameters={"a": 1, "b": True, "c": "x"}, **given).exec()))]
    """
    assert lab.ask(body) == ["me", "seq", "3", "5000000", '{"a":1,"b":true,"c":"x"}']


@pytest.mark.parametrize("kind", ["FP32", "BF16", "STRING", "BOOL"])
def test_tensors_reach_the_called_model_and_come_back(lab, kind):
    raw = {"FP32": b"\0\0\x80?", "BF16": b"\x80?", "BOOL": b"\1", "STRING": b"\3\0\0\0a\0b"}[kind]
    datatype = "BYTES" if kind == "STRING" else kind
    copy = "pb_utils.Tensor('OUT_STRING', t.as_numpy())"  # DLPack knows no strings, numpy no BF16
    if kind != "STRING":
        copy = f"pb_utils.Tensor.from_dlpack('OUT_{kind}', t)"
    body = f'''
    given = pb_utils.get_input_tensor_by_name(request, "IN_{kind}")
    code = call("other", """t = request.inputs()[1]
    return [pb_utils.InferenceResponse([{copy}])]""").inputs()
    asked = pb_utils.InferenceRequest(
        model_name="other", requested_output_names=["OUT_{kind}"], inputs=[*code, given])
    return [asked.exec()]
    '''
    [output] = lab.response(body, tensors=[Tensor(f"IN_{kind}", datatype, (1, 1), raw=raw)]).outputs
    assert (output.datatype, output.shape, bytes(output.raw)) == (datatype, (1, 1), raw)


def test_many_threads_of_a_model_may_run_another(lab):
    body = """
    from concurrent.futures import ThreadPoolExecutor
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda n: texts(call("other", f"return [text({n})]").exec())[0], range(40)))
    return [text(answers == [str(n) for n in range(40)])]
    """
    assert lab.ask(body) == "True"


# Each of four calls waits until all four have begun, so that calls one after another would never end.
MEETING = """
    import os, uuid
    directory = {directory!r}
    open(os.path.join(directory, uuid.uuid4().hex), "w").close()
    until = time.monotonic() + 15
    while len(os.listdir(directory)) < 4 and time.monotonic() < until: time.sleep(0.001)
    return [text(len(os.listdir(directory)))]"""


def test_four_calls_of_a_coroutine_are_executed_at_the_same_time(lab, tmp_path):
    body = f"""
    script = {MEETING.format(directory=str(tmp_path))!r}
    answers = await asyncio.gather(*(call("four", script).async_exec() for _ in range(4)))
    return [text(*(texts(answer)[0] for answer in answers))]
    """
    assert lab.ask(body, model="async_lab") == ["4"] * 4


def test_four_calls_of_threads_are_executed_at_the_same_time(lab, tmp_path):
    body = f"""
    from concurrent.futures import ThreadPoolExecutor
    script = {MEETING.format(directory=str(tmp_path))!r}
    with ThreadPoolExecutor(4) as pool:
        return [text(*pool.map(lambda _: texts(call("four", script).exec())[0], range(4)))]
    """
    assert lab.ask(body) == ["4"] * 4


WAITING = """
    open({begun!r}, "w").close()
    while not request.is_cancelled(): time.sleep(0.001)
    return [text("cancelled")]"""


def test_a_call_whose_future_is_cancelled_is_cancelled_in_the_called_model(lab, tmp_path):
    body = f"""
    import os
    script = {WAITING.format(begun=str(tmp_path / "begun"))!r}
    future = call("other", script).async_exec()
    while not os.path.exists({str(tmp_path / "begun")!r}): await asyncio.sleep(0.001)
    future.cancel()
    return [text(*texts(await call("other", "return [text('free again')]").async_exec()))]
    """
    assert lab.ask(body, model="async_lab") == "free again"


def test_a_call_that_took_too_long_is_cancelled(lab, tmp_path):
    body = f"""
    script = {WAITING.format(begun=str(tmp_path / "begun"))!r}
    try:
        await asyncio.wait_for(call("other", script).async_exec(), 0.05)
    except TimeoutError:
        return [text(*texts(await call("other", "return [text('free again')]").async_exec()))]
    """
    assert lab.ask(body, model="async_lab") == "free again"


@pytest.mark.parametrize(("model", "way"), [("lab", "exec()"), ("async_lab", "exec()"), ("async_lab", "async_exec()")])
def test_when_the_client_goes_the_calls_made_for_it_are_cancelled(lab, tmp_path, model, way):
    begun = tmp_path / "begun"
    wait = "await " if way == "async_exec()" else ""
    body = f"""
    script = {WAITING.format(begun=str(begun))!r}
    return [text(*texts({wait}call("other", script).{way}))]
    """

    async def scenario():
        answers, done = [], asyncio.Event()

        def deliver(response):
            answers.append(response)
            done.set()

        pending = lab.engine.submit(InferRequest(model, inputs={"CODE": code(body)}), deliver)
        async with asyncio.timeout(20):
            while not begun.exists():  # noqa: ASYNC110  the model makes the file
                await asyncio.sleep(0.001)
            pending.cancel()
            await done.wait()
        return answers

    [answer] = lab.wait(scenario())
    assert [value.decode() for value in answer.outputs[0].array] == ["cancelled"]


UNTIL = """
    import os
    while not os.path.exists({path!r}): time.sleep(0.001)
    return [text("first")]"""


def test_the_timeout_of_a_call_limits_its_time_in_the_queue(lab, tmp_path):
    path = str(tmp_path / "go")
    body = f"""
    first = call("impatient", {UNTIL.format(path=path)!r}).async_exec()
    second = texts(await call("impatient", "return [text('second')]", timeout=1000).async_exec())
    open({path!r}, "w").close()
    return [text(*second, *texts(await first))]
    """
    code, message, first = lab.ask(body, model="async_lab")
    assert (code, first) == ("INTERNAL", "first")
    assert message.endswith("Request timeout expired")
