"""What `execute` may return and raise, in both modes; the texts are those of NVIDIA's server."""

import asyncio

import pytest

from slipway.errors import Code
from tests.backends.python.engine_kit import (
    DECOUPLED,
    both_modes,
    error_of,
    infer_text,
    methods,
    served,
    stream,
    text_request,
    write_model,
)

RULES = methods("""
    def execute(self, requests):
        code = text(requests[0])
        if code == "raise": raise ValueError("boom")
        if code == "deep": return self.inner()
        if code == "model exception": raise pb_utils.TritonModelException("said so")
        if code == "no text": raise ValueError()
        if code == "exit": sys.exit("bye")
        if code == "library": return np.linalg.inv(np.zeros((2, 2)))
        if code == "count": return []
        if code == "tuple": return (1,)
        if code == "element": return [1]
        if code == "nothing": return [None]
        if code == "reschedule":
            requests[0].set_release_flags(pb_utils.TRITONSERVER_REQUEST_RELEASE_RESCHEDULE)
            return [reply("x")]
        return [reply(code)]

    def inner(self):
        raise RuntimeError("two\\nlines")
""")
HEAD = "Failed to process the request(s) for model 'rules_0', message: "


@pytest.fixture
def rules(tmp_path):
    def write(mode):
        return write_model(tmp_path, "rules", RULES, mode=mode)

    return write


def line_of(directory, needle):
    lines = (directory / "model.py").read_text().splitlines()
    return next(number for number, line in enumerate(lines, 1) if needle in line)


@both_modes
def test_each_wrong_return_is_reported_in_tritons_words_and_the_model_continues(rules, tmp_path, mode):
    rules(mode)
    expected = {
        "count": "Number of InferenceResponse objects do not match the number of InferenceRequest objects. "
        "InferenceRequest(s) size is:1, and InferenceResponse(s) size is:0\n",
        "tuple": "Expected a list in the execute return, found type '<class 'tuple'>'.",
        "element": "Expected an 'InferenceResponse' object in the execute function return list, found type "
        "'<class 'int'>'.",
        "reschedule": "Expected a None object in the execute function return list for reschduled request, found type "
        "'<class 'slipway.backends.python.response.InferenceResponse'>'.",
    }

    async def scenario(engine):
        for code, text in expected.items():
            error = await error_of(engine, "rules", code)
            assert (error.code, error.message) == (Code.INTERNAL, HEAD + text)
        assert await infer_text(engine, "rules", "fine") == ["fine"]

    served(tmp_path, scenario)


@both_modes
def test_an_exception_is_reported_with_its_frames_but_without_server_paths(rules, tmp_path, mode):
    directory = rules(mode)

    def at(*places):
        return "\n\nAt:\n" + "".join(f"  1/model.py({line_of(directory, what)}): {name}\n" for what, name in places)

    expected = {
        "raise": "ValueError: boom" + at(('"boom"', "execute")),
        "deep": "RuntimeError: two\nlines" + at(("RuntimeError", "inner"), ("self.inner()", "execute")),
        "model exception": "TritonModelException: said so" + at(("said so", "execute")),
        "no text": "ValueError: <EMPTY MESSAGE>" + at(("ValueError()", "execute")),
        "exit": "SystemExit: bye" + at(("sys.exit", "execute")),
    }

    async def scenario(engine):
        for code, text in expected.items():
            assert (await error_of(engine, "rules", code)).message == HEAD + text
        library = (await error_of(engine, "rules", "library")).message
        assert "LinAlgError: Singular matrix" in library
        assert str(tmp_path) not in library
        assert "/site-packages" not in library
        assert await infer_text(engine, "rules", "fine") == ["fine"]

    served(tmp_path, scenario)


@both_modes
def test_a_request_that_is_never_answered_fails_instead_of_waiting_for_ever(rules, tmp_path, mode):
    rules(mode)

    async def scenario(engine):
        error = await error_of(engine, "rules", "nothing")
        assert "released a request without sending its final response" in error.message

    served(tmp_path, scenario)


@both_modes
def test_an_execution_that_raises_fails_every_request_of_its_batch_and_no_other(tmp_path, mode):
    source = methods("""
        def execute(self, requests):
            if any(text(request) == "bad" for request in requests):
                raise ValueError(f"{len(requests)} in the batch")
            return [reply(*request.inputs()[0].as_numpy()) for request in requests]
    """)
    io = """
    input { name: "IN" data_type: TYPE_STRING dims: [] reshape { shape: [] } }
    output { name: "OUT" data_type: TYPE_STRING dims: [] reshape { shape: [] } }"""
    io = io.replace("dims: [] reshape { shape: [] }", "dims: [ 1 ] reshape { shape: [] }")
    write_model(
        tmp_path,
        "rules",
        source,
        mode=mode,
        io=io,
        batch=2,
        config="dynamic_batching { preferred_batch_size: [2] max_queue_delay_microseconds: 2000000 }",
    )

    def one(value):
        request = text_request("rules", value)
        request.inputs["IN"] = request.inputs["IN"].reshaped((1, 1))
        return request

    async def scenario(engine):
        answers = await asyncio.gather(
            *(engine.infer(one(value)) for value in ("bad", "mate", "c", "d")), return_exceptions=True
        )
        assert [str(answer).split("\n")[0] for answer in answers[:2]] == [HEAD + "ValueError: 2 in the batch"] * 2
        assert [answer.outputs[0].array.tolist() for answer in answers[2:]] == [[[b"c"]], [[b"d"]]]

    served(tmp_path, scenario)


@both_modes
def test_an_error_response_fails_its_own_request_with_its_own_code(tmp_path, mode):
    write_model(
        tmp_path,
        "errors",
        methods("""
        def execute(self, requests):
            error = pb_utils.TritonError("no " + text(requests[0]), getattr(pb_utils.TritonError, text(requests[0])))
            return [pb_utils.InferenceResponse(error=error)]
        """),
        mode=mode,
    )

    async def scenario(engine):
        for code in Code:
            error = await error_of(engine, "errors", code.name)
            assert (error.code, error.message) == (code, f"no {code.name}")

    served(tmp_path, scenario)


@both_modes
def test_an_async_execute_is_awaited(tmp_path, mode):
    write_model(
        tmp_path,
        "a",
        methods("""
        async def execute(self, requests):
            await asyncio.sleep(0)
            if text(requests[0]) == "raise": raise ValueError("later")
            return [reply("awaited")]
        """),
        mode=mode,
    )

    async def scenario(engine):
        assert await infer_text(engine, "a", "x") == ["awaited"]
        assert (
            "'a_0', message: ValueError: later\n\nAt:\n  1/model.py(" in (await error_of(engine, "a", "raise")).message
        )
        assert await infer_text(engine, "a", "x") == ["awaited"]

    served(tmp_path, scenario)


@both_modes
def test_coroutines_of_a_decoupled_model_run_beside_each_other(tmp_path, mode):
    write_model(
        tmp_path,
        "d",
        methods("""
        def initialize(self, args):
            self.second = None

        async def execute(self, requests):
            if self.second is None: self.second = asyncio.Event()
            if text(requests[0]) == "raise": raise ValueError("later")
            if text(requests[0]) == "wait": await self.second.wait()
            else: self.second.set()
            requests[0].get_response_sender().send(reply(text(requests[0])), 1)
        """),
        mode=mode,
        config=DECOUPLED,
    )

    async def scenario(engine):
        first, second = await asyncio.gather(
            stream(engine, text_request("d", "wait")), stream(engine, text_request("d", "go"))
        )
        assert [first[0].outputs[0].array[0], second[0].outputs[0].array[0]] == [b"wait", b"go"]
        failed = await stream(engine, text_request("d", "raise"))
        assert "message: ValueError: later" in failed[-1].error.message

    served(tmp_path, scenario)


@both_modes
def test_a_decoupled_execute_must_return_none(tmp_path, mode):
    write_model(tmp_path, "d", methods("def execute(self, requests): return [None]"), mode=mode, config=DECOUPLED)

    async def scenario(engine):
        (answer,) = await stream(engine, text_request("d", "x"))
        assert answer.error.message == (
            "Failed to process the request(s) for model 'd_0', message: Python model 'd_0' is using the decoupled mode "
            "and the execute function must return None."
        )

    served(tmp_path, scenario)
