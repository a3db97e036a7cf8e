"""Child processes that die, hang, fork or are killed: which requests fail, and that nothing is left behind."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest

from slipway.backends.python.process import frames, messages
from slipway.backends.python.process.frames import Frames
from slipway.core.request import InferRequest
from slipway.core.tensor import Tensor
from slipway.errors import Code, SlipwayError
from tests.backends.python.engine_kit import (
    DECOUPLED,
    ECHO,
    FLOAT_IO,
    error_of,
    float_request,
    infer_text,
    methods,
    served,
    stream,
    text_request,
    write_model,
)

DYING = methods("""
    def execute(self, requests):
        code = text(requests[0])
        if code == "pid": return [reply(str(os.getpid()))]
        if code == "exit": os._exit(3)
        if code == "segfault": os.kill(os.getpid(), 11)
        if code == "hang":
            open(os.path.join(pb_utils.get_model_dir(), "hanging"), "w").close()
            time.sleep(1000)
        return [reply(code)]
""")
UNHEALTHY = "Failed to process the request(s) for model instance 'm_0', message: Stub process 'm_0' is not healthy."


async def until(condition):
    while not condition():  # noqa: ASYNC110  another process: there is no event to wait for
        await asyncio.sleep(0.005)


@pytest.mark.parametrize("how", ["exit", "segfault"])
def test_a_child_that_dies_fails_the_request_inside_and_is_replaced(tmp_path, how):
    write_model(tmp_path, "m", DYING)

    async def scenario(engine):
        first = await infer_text(engine, "m", "pid")
        error = await error_of(engine, "m", how)
        assert (error.code, error.message) == (Code.INTERNAL, UNHEALTHY)
        assert not await engine.model_ready("m", "")
        assert await infer_text(engine, "m", "next") == ["next"]
        assert await engine.model_ready("m", "")
        assert await infer_text(engine, "m", "pid") != first

    served(tmp_path, scenario)


def test_a_request_that_cannot_be_sent_to_the_child_fails_and_the_next_ones_run(tmp_path):
    write_model(tmp_path, "m", ECHO)

    async def scenario(engine):
        for _ in range(10):  # more than an instance has under way
            error = await error_of(engine, "m", "x", parameters={"half": "\ud800"})
            assert error.code is Code.INVALID_ARG
            assert "not valid Unicode" in error.message
        assert await infer_text(engine, "m", "next") == ["next"]

    served(tmp_path, scenario)


def test_killing_a_child_under_load_fails_only_the_requests_inside_it(tmp_path):
    write_model(tmp_path, "m", DYING)

    async def scenario(engine):
        (pid,) = await infer_text(engine, "m", "pid")
        answers = []

        async def client(number):
            for index in range(60):
                try:
                    answers.append((await infer_text(engine, "m", f"{number}/{index}")) == [f"{number}/{index}"])
                except SlipwayError as error:
                    answers.append(error.message)
                if len(answers) == 100:
                    os.kill(int(pid), signal.SIGKILL)

        await asyncio.gather(*(client(number) for number in range(8)))
        assert len(answers) == 480
        failed = [answer for answer in answers if answer is not True]
        assert set(failed) <= {UNHEALTHY}
        assert len(failed) <= 1  # one request is executed at a time

    served(tmp_path, scenario)


def test_a_hanging_child_that_is_killed_fails_its_request_and_the_next_ones_run(tmp_path):
    directory = write_model(tmp_path, "m", DYING)

    async def scenario(engine):
        (pid,) = await infer_text(engine, "m", "pid")
        hanging = asyncio.create_task(error_of(engine, "m", "hang"))
        await until((directory / "hanging").exists)
        behind = [asyncio.create_task(infer_text(engine, "m", str(number))) for number in range(3)]
        await asyncio.sleep(0)
        os.kill(int(pid), signal.SIGKILL)
        assert (await hanging).message == UNHEALTHY
        assert await asyncio.gather(*behind) == [["0"], ["1"], ["2"]]

    served(tmp_path, scenario)


def test_streams_that_were_open_end_with_the_error(tmp_path):
    source = methods("""
    def execute(self, requests):
        self.held = requests
        requests[0].get_response_sender().send(reply(str(os.getpid())))
    """)
    write_model(tmp_path, "m", source, config=DECOUPLED)

    async def scenario(engine):
        answers, first, ended = [], asyncio.Event(), asyncio.Event()

        def deliver(response):
            answers.append(response)
            (ended if response.final else first).set()

        engine.submit(text_request("m", "x"), deliver)
        await first.wait()
        os.kill(int(answers[0].outputs[0].array[0]), signal.SIGKILL)
        await ended.wait()
        assert answers[-1].error.message == UNHEALTHY

    served(tmp_path, scenario)


def test_a_death_is_noticed_although_a_forked_grandchild_keeps_the_socket(tmp_path):
    source = methods("""
    def execute(self, requests):
        if text(requests[0]) == "fork":
            grandchild = os.fork()
            if grandchild == 0:
                time.sleep(1000)
            with open(os.path.join(pb_utils.get_model_dir(), "pid"), "w") as file: file.write(str(grandchild))
            os._exit(1)
        return [reply("alive")]
    """)
    directory = write_model(tmp_path, "m", source)

    async def scenario(engine):
        try:
            assert (await error_of(engine, "m", "fork")).message == UNHEALTHY
            assert await infer_text(engine, "m", "x") == ["alive"]
        finally:
            os.kill(int((directory / "pid").read_text()), signal.SIGKILL)

    served(tmp_path, scenario)


def test_a_model_that_dies_while_it_loads_is_not_served_and_the_reason_says_how(tmp_path):
    write_model(tmp_path, "m", methods("def initialize(self, args): os._exit(7)\ndef execute(self, requests): pass"))

    async def scenario(engine):
        return [entry.reason for entry in engine.repository_index(ready_only=False)]

    async def whole():
        from tests.backends.python.engine_kit import serving

        async with serving(tmp_path) as engine:
            return await scenario(engine)

    (reason,) = asyncio.run(whole())
    assert "exit code 7" in reason


def test_a_model_that_cannot_start_again_is_not_ready_and_its_requests_fail(tmp_path):
    directory = write_model(tmp_path, "m", DYING)

    async def scenario(engine):
        (directory / "model.py").write_text("raise RuntimeError('broken since')")
        await error_of(engine, "m", "exit")
        assert (await error_of(engine, "m", "x")).message == UNHEALTHY
        assert not await engine.model_ready("m", "")

    served(tmp_path, scenario)


def test_a_request_that_has_killed_its_process_twice_is_refused(tmp_path):
    write_model(tmp_path, "m", DYING)

    async def scenario(engine):
        for _ in range(2):
            assert (await error_of(engine, "m", "exit", id="any")).message == UNHEALTHY
        (pid,) = await infer_text(engine, "m", "pid")
        refused = [await error_of(engine, "m", "exit", id=str(number)) for number in range(3)]
        assert {(error.code, error.message) for error in refused} == {
            (
                Code.INVALID_ARG,
                "The process of model instance 'm_0' died on this request 2 times; the request is refused.",
            )
        }
        assert await infer_text(engine, "m", "pid") == [pid]

    served(tmp_path, scenario)


def test_batch_mates_of_a_request_that_kills_fail_at_most_once(tmp_path):
    source = methods("""
    def execute(self, requests):
        if any(text(request) == "exit" for request in requests): os._exit(3)
        return [reply(request.inputs()[0].as_numpy()[0, 0]) for request in requests]
    """).replace("reply(", "batched(")
    helper = """

def text(request):
    return request.inputs()[0].as_numpy()[0, 0].decode()

def batched(value):
    return pb_utils.InferenceResponse([pb_utils.Tensor("OUT", np.array([[value]], dtype=np.object_))])
"""
    batching = "dynamic_batching { preferred_batch_size: [ 3 ] max_queue_delay_microseconds: 2000000 }"
    write_model(tmp_path, "m", helper + source, batch=3, config=batching)

    def asked(engine, value):
        array = np.array([[value.encode()]], dtype=np.object_)
        return engine.infer(InferRequest("m", inputs={"IN": Tensor.from_array("IN", array)}))

    async def scenario(engine):
        def batch():
            return asyncio.gather(*(asked(engine, name) for name in ("a", "exit", "b")), return_exceptions=True)

        first = await batch()
        assert [getattr(answer, "message", None) for answer in first] == [UNHEALTHY] * 3
        for text in (UNHEALTHY, None, None):
            good, bad, other = await batch()
            assert [answer.outputs[0].array[0, 0] for answer in (good, other)] == [b"a", b"b"]
            assert bad.message == text if text else "the request is refused" in bad.message

    served(tmp_path, scenario)


def test_a_model_that_takes_long_to_start_again_does_not_keep_requests_waiting(tmp_path):
    directory = write_model(
        tmp_path,
        "m",
        "if os.path.exists(os.path.join(os.path.dirname(__file__), 'slow')): time.sleep(1000)\n" + DYING,
    )

    async def scenario(engine):
        (directory / "slow").touch()
        began = time.monotonic()
        await error_of(engine, "m", "exit")
        assert (await error_of(engine, "m", "x")).message == UNHEALTHY
        assert time.monotonic() - began < 10
        refused = time.monotonic()
        await error_of(engine, "m", "x")
        assert time.monotonic() - refused < 0.5

    served(tmp_path, scenario)


def test_an_answer_that_is_too_large_is_an_error_and_does_not_leave_the_process(tmp_path):
    source = methods("""
    def execute(self, requests):
        array = np.zeros(int(requests[0].inputs()[0].as_numpy()[0]) >> 2, np.float32)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array)])]
    """)
    write_model(tmp_path, "m", source, io=FLOAT_IO)

    async def scenario(engine):
        def asked(size):
            return engine.infer(float_request("m", np.array([size], np.float32)))

        before = psutil.Process().memory_info().rss
        with pytest.raises(SlipwayError, match="the response has 1610612736 bytes, which exceeds the limit"):
            await asked(1536 << 20)
        assert psutil.Process().memory_info().rss - before < 64 << 20
        assert (await asked(1 << 20)).outputs[0].array.nbytes == 1 << 20

    served(tmp_path, scenario)


NOISY = methods("""
    def execute(self, requests):
        code = text(requests[0])
        if code == "fork and answer":
            return [reply("parent" if os.fork() else "child")]
        if code == "fork and raise":
            if os.fork() == 0: raise RuntimeError("in the child")
            time.sleep(0.2)
        if code == "fork and drop":
            if os.fork() == 0: del requests; sys.exit(0)
            time.sleep(0.2)
        if code.startswith("noise"):
            link = int(sys.orig_argv[-1])
            os.write(link, bytes.fromhex(code.partition(" ")[2]))
        if code == "pid": return [reply(str(os.getpid()))]
        return [reply(code)]
""")


@pytest.mark.parametrize("how", ["answer", "raise", "drop"])
def test_a_model_that_forks_and_answers_twice_gives_one_answer_and_serves_on(tmp_path, how):
    write_model(tmp_path, "m", NOISY)

    async def scenario(engine):
        (pid,) = await infer_text(engine, "m", "pid")
        for _ in range(5):
            expected = "parent" if how == "answer" else f"fork and {how}"
            assert await infer_text(engine, "m", f"fork and {how}") == [expected]
            assert await infer_text(engine, "m", "x") == ["x"]
        assert await infer_text(engine, "m", "pid") == [pid]

    served(tmp_path, scenario)


NOISE = {
    "zeros": bytes(100),
    "one byte": b"x",
    "text": b"a line of text that a C library prints, and another one\n" * 20,
    "a message that is none": Frames().pack(b"nonsense").data,
    "an empty message": Frames().pack(b"").data,
    "a batch of another form": Frames().pack(messages.encode(messages.Execute(1, ()))).data,
    "too few answers": Frames().pack(messages.encode(messages.Done(1, (), 0, 0, 0))).data,
    "memory that was not lent": frames._HEAD.pack(frames._MARK, 0, 100, 0, 77),
    "memory that is not ours": frames._HEAD.pack(frames._MARK, 4, 0, 0, frames._RETURNED) + b"\1\0\0\0",
    "memory of one use that is not ours": frames._HEAD.pack(frames._MARK, 4, 0, 0, frames._RETURNED) + b"\1\0\0\x40",
    "an unopened metric": Frames().pack(messages.encode(messages.ChangeSeries("f", {}, "set", 1.0))).data,
    "an answer that does not exist": Frames().pack(messages.encode(messages.Sent(1, 7, messages.AnswerHead()))).data,
}


@pytest.mark.parametrize("noise", NOISE)
def test_noise_on_the_link_ends_the_process_and_the_next_requests_are_served(tmp_path, noise, caplog):
    write_model(tmp_path, "m", NOISY)

    async def scenario(engine):
        async with asyncio.timeout(30):
            error = await error_of(engine, "m", "noise " + NOISE[noise].hex())
            assert error.message == UNHEALTHY
            assert await asyncio.gather(*(infer_text(engine, "m", str(one)) for one in range(5))) == [
                [str(one)] for one in range(5)
            ]

    served(tmp_path, scenario)
    assert "is killed, because of what it sent to the server" in caplog.text


def test_a_second_answer_to_a_batch_is_ignored_with_a_line_in_the_log(tmp_path, caplog):
    write_model(tmp_path, "m", NOISY)
    again = Frames().pack(messages.encode(messages.Done(1, (messages.AnswerHead(),), 0, 0, 0))).data

    async def scenario(engine):
        (pid,) = await infer_text(engine, "m", "pid")
        assert await infer_text(engine, "m", "noise " + again.hex()) == ["noise " + again.hex()]
        assert await infer_text(engine, "m", "pid") == [pid]

    served(tmp_path, scenario)
    assert "the second answer is ignored" in caplog.text


def test_no_child_outlives_a_server_that_is_killed(tmp_path):
    write_model(tmp_path, "m", DYING)
    program = f"""
import asyncio
from pathlib import Path
from slipway.config.options import ServerOptions
from slipway.engine.dataplane import Engine

async def main():
    engine = Engine(ServerOptions(model_repository=(Path({str(tmp_path)!r}),)), version="0")
    assert not await engine.start()
    print("ready", flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""
    root = str(Path(__file__).parents[2])
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, cwd=root) as server:
        assert server.stdout.readline() == b"ready\n"
        children = psutil.Process(server.pid).children()
        assert len(children) == 1
        server.kill()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive


def test_closing_runs_finalize_and_leaves_no_process(tmp_path, children):
    source = methods("""
    def execute(self, requests): return [reply(str(os.getpid()))]
    def finalize(self): open(os.path.join(pb_utils.get_model_dir(), "finalized"), "w").close()
    """)
    directory = write_model(tmp_path, "m", source, config="instance_group { count: 3 kind: KIND_CPU }")

    async def scenario(engine):
        return children()

    pids = served(tmp_path, scenario)
    assert len(pids) == 3
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert (directory / "finalized").exists()


def test_a_large_tensor_and_one_with_nul_bytes_come_back_as_they_were(tmp_path):
    write_model(tmp_path, "m", ECHO)
    write_model(tmp_path, "f", ECHO, io=FLOAT_IO)

    async def scenario(engine):
        values = [b"", b"\0", b"a\0b", "\u00e9".encode(), b"\xff" * 70_000]
        response = await engine.infer(text_request("m", *values))
        assert response.outputs[0].array.tolist() == values
        large = np.arange(16 << 20, dtype=np.float32)  # 64 MiB
        response = await engine.infer(float_request("f", large))
        assert np.array_equal(response.outputs[0].array, large)

    served(tmp_path, scenario)


def test_large_and_small_batches_survive_each_other_and_a_death(tmp_path):
    source = methods("""
    def execute(self, requests):
        array = requests[0].inputs()[0].as_numpy()
        if array.size == 1:
            if array[0] == 1: time.sleep(0.05); os._exit(1)
        return [pb_utils.InferenceResponse([pb_utils.Tensor("OUT", array[:1])])]
    """)
    directory = write_model(tmp_path, "m", source, io=FLOAT_IO)

    async def scenario(engine):
        large = np.full(4 << 20, 5, np.float32)
        for number in range(3):
            answers = await asyncio.gather(
                engine.infer(float_request("m", large)),
                engine.infer(float_request("m", np.ones(1, np.float32), parameters={"number": number})),
                engine.infer(float_request("m", large)),
                return_exceptions=True,
            )
            assert [getattr(answer, "message", None) for answer in answers] == [None, UNHEALTHY, None]

    assert directory.exists()
    served(tmp_path, scenario)


@pytest.mark.parametrize("size", [16, 64 << 10], ids=["small", "shared memory"])
def test_many_requests_leave_descriptors_and_memory_flat(tmp_path, children, size):
    write_model(tmp_path, "m", ECHO, io=FLOAT_IO)

    async def scenario(engine):
        array = np.ones(size, np.float32)

        async def some(count):
            for _ in range(count // 8):
                await asyncio.gather(*(engine.infer(float_request("m", array)) for _ in range(8)))

        count = 10_000 if size == 16 else 2_000
        await some(count // 2)
        processes = [psutil.Process(), *map(psutil.Process, children())]
        before = [(process.num_fds(), process.memory_info().rss) for process in processes]
        await some(count)
        for process, (descriptors, memory) in zip(processes, before, strict=True):
            assert process.num_fds() <= descriptors + 2
            assert process.memory_info().rss < memory * 1.05 + (8 << 20)

    served(tmp_path, scenario)


def test_open_streams_answer_after_the_execution_that_began_them(tmp_path):
    source = methods("""
    def execute(self, requests):
        for request in requests:
            threading.Thread(target=self.answer, args=(request.get_response_sender(), text(request))).start()

    def answer(self, sender, value):
        for index in range(20):
            sender.send(reply(f"{value}{index}"))
        sender.send(flags=1)
    """)
    write_model(tmp_path, "m", source, config=DECOUPLED)

    async def scenario(engine):
        began = time.monotonic()
        answers = await asyncio.gather(*(stream(engine, text_request("m", name)) for name in "abcdefgh"))
        assert time.monotonic() > began
        for name, given in zip("abcdefgh", answers, strict=True):
            assert [one.outputs[0].array[0].decode() for one in given[:-1]] == [f"{name}{i}" for i in range(20)]

    served(tmp_path, scenario)
