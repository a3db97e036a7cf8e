"""What becomes of the tensors, coroutines and exits of a model's answers."""

from __future__ import annotations

import pytest


def test_outputs_that_were_not_requested_are_left_out(lab):
    body = """
    more = pb_utils.Tensor("OUT_FP32", np.zeros((1, 1), np.float32))
    unknown = pb_utils.Tensor("NOPE", np.zeros((1, 1), np.float32))
    return [pb_utils.InferenceResponse([more, unknown, *text("x").output_tensors()])]
    """
    assert [tensor.name for tensor in lab.response(body, outputs=("OUT",)).outputs] == ["OUT"]
    assert [tensor.name for tensor in lab.response(body).outputs] == ["OUT_FP32", "OUT"]


def test_outputs_that_were_not_requested_are_left_out_of_what_a_sender_sends(lab):
    body = """
    more = pb_utils.Tensor("OUT_FP32", np.zeros((1, 1), np.float32))
    sender().send(pb_utils.InferenceResponse([more, *text("x").output_tensors()]), 1)
    """
    [answer] = lab.responses(body, model="stream", outputs=("OUT",))
    assert [tensor.name for tensor in answer.outputs] == ["OUT"]


def test_an_answer_may_have_no_outputs(lab):
    assert lab.response("return [pb_utils.InferenceResponse()]").outputs == []


def test_an_output_is_what_it_was_when_it_was_sent(lab):
    body = """
    words, floats = np.array([b"before"], dtype=np.object_), np.zeros((1, 1), np.float32)
    sender().send(pb_utils.InferenceResponse([pb_utils.Tensor("OUT", words), pb_utils.Tensor("OUT_FP32", floats)]))
    words[0], floats[0] = b"after", 1.0
    return [None]
    """
    first, second = lab.response(body).outputs
    assert (first.array.tolist(), second.array.tolist()) == ([b"before"], [[0.0]])


@pytest.mark.parametrize("model", ["lab", "async_lab", "stream", "async_stream"])
@pytest.mark.parametrize(
    ("raised", "told"),
    {
        "SystemExit(3)": "SystemExit: 3",
        "KeyboardInterrupt()": "KeyboardInterrupt: <EMPTY MESSAGE>",
        "asyncio.CancelledError()": "CancelledError: <EMPTY MESSAGE>",
        "GeneratorExit()": "GeneratorExit: <EMPTY MESSAGE>",
    }.items(),
)
def test_what_is_not_an_exception_fails_its_request_only(lab, model, raised, told):
    message = lab.error(f"raise {raised}", model=model).message
    assert message.startswith(f"Failed to process the request(s) for model '{model}_0', message: {told}")
    assert lab.ask("sender().send(text('fine'), 1)" if "stream" in model else "'fine'", model=model) == "fine"


def test_a_coroutine_may_start_others(lab):
    body = """
    values = await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0, 2))
    return [text(values)]
    """
    assert lab.ask(body, model="async_lab") == "[1, 2]"


def test_rescheduling_is_refused_without_an_iterative_sequence(lab):
    body = """
    request.set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
    return [None]
    """
    message = "Model 'lab' rescheduled a request, which needs an iterative sequence scheduler."
    assert lab.error(body).message == message


def test_a_request_that_is_let_go_later_is_answered_then(lab):
    lab.ask("(self.kept.append([]), 'ready')")
    body = """
    self.kept.append(request)
    threading.Timer(0.05, lambda: (self.kept.clear(), gc.collect())).start()
    """
    assert "released a request without sending its final response" in lab.error(body, model="stream").message
