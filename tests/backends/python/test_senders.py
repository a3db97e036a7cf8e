"""Response senders: decoupled models, senders in models that are not, misuse, cancellation."""

import asyncio

from tests.backends.python.engine_kit import (
    DECOUPLED,
    both_modes,
    infer_text,
    methods,
    served,
    stream,
    text_request,
    write_model,
)

SENDING = methods("""
    def execute(self, requests):
        for request in requests:
            sender = request.get_response_sender()
            code = text(request)
            if code.isdigit():
                for index in range(int(code)):
                    sender.send(reply(str(index)))
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            elif code == "with final":
                sender.send(reply("only"), flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
            elif code == "thread":
                threading.Thread(target=self.later, args=(request,)).start()
            elif code == "error":
                sender.send(reply("good"))
                error = pb_utils.TritonError("bad", pb_utils.TritonError.NOT_FOUND)
                sender.send(pb_utils.InferenceResponse(error=error), 1)
            elif code == "raise after sending":
                sender.send(reply("first"))
                raise ValueError("late")
            elif code == "drop":
                sender.send(reply("first"))
        return None

    def later(self, request):
        sender = request.get_response_sender()
        for value in ("a", "b"):
            sender.send(reply(value))
        sender.send(flags=1)
""")


def texts(answers):
    return [answer.outputs[0].array[0].decode() for answer in answers if answer.outputs]


@both_modes
def test_a_decoupled_model_answers_none_one_or_many_times(tmp_path, mode):
    write_model(tmp_path, "d", SENDING, mode=mode, config=DECOUPLED)

    async def scenario(engine):
        for count in (0, 1, 5):
            answers = await stream(engine, text_request("d", str(count), id="me"))
            assert texts(answers) == [str(index) for index in range(count)]
            assert (answers[-1].final, answers[-1].empty) == (True, True)
            assert {answer.id for answer in answers} == {"me"}
        (only,) = await stream(engine, text_request("d", "with final"))
        assert (texts([only]), only.final, only.empty) == (["only"], True, False)
        assert texts(await stream(engine, text_request("d", "thread"))) == ["a", "b"]

    served(tmp_path, scenario)


@both_modes
def test_what_goes_wrong_in_a_stream_ends_it_with_an_error_and_leaves_the_others_alone(tmp_path, mode):
    write_model(tmp_path, "d", SENDING, mode=mode, config=DECOUPLED)

    async def scenario(engine):
        answers = await stream(engine, text_request("d", "error"))
        assert texts(answers) == ["good"]
        assert answers[-1].error.message == "bad"
        answers = await stream(engine, text_request("d", "raise after sending"))
        assert texts(answers) == ["first"]
        assert "message: ValueError: late" in answers[-1].error.message
        answers = await stream(engine, text_request("d", "drop"))
        assert texts(answers) == ["first"]
        assert "released a request without sending its final response" in answers[-1].error.message
        assert texts(await stream(engine, text_request("d", "2"))) == ["0", "1"]

    served(tmp_path, scenario)


@both_modes
def test_a_model_that_is_not_decoupled_may_answer_through_a_sender(tmp_path, mode):
    write_model(
        tmp_path,
        "s",
        methods("""
        def execute(self, requests):
            code = text(requests[0])
            sender = requests[0].get_response_sender()
            if code == "late":
                threading.Thread(target=lambda: sender.send(reply("late"), 1)).start()
                return [None]
            sender.send(reply("sent"), 1)
            if code == "both": return [reply("returned")]
            if code == "raise": raise ValueError("after")
            return [None]
        """),
        mode=mode,
    )

    async def scenario(engine):
        assert await infer_text(engine, "s", "late") == ["late"]
        for code in ("sent", "both", "raise"):
            assert await infer_text(engine, "s", code) == ["sent"]
        statistics = engine.model_statistics("s", "1")[0].statistics
        while statistics.execution_count < 4:  # noqa: ASYNC110  an answer may be out before its execution ends
            await asyncio.sleep(0.001)
        assert (statistics.success.count, statistics.fail.count) == (4, 0)

    served(tmp_path, scenario)


@both_modes
def test_misuse_of_a_sender_raises_in_the_model_with_tritons_texts(tmp_path, mode):
    source = methods("""
        def execute(self, requests):
            sender = requests[0].get_response_sender()
            said = []
            def attempt(*args, **options):
                try: sender.send(*args, **options); said.append("sent")
                except pb_utils.TritonModelException as error: said.append(str(error))
            attempt(flags=7)
            attempt()
            if text(requests[0]) == "decoupled":
                attempt(flags=1)
                attempt(reply("x"))
            else:
                attempt(flags=1)
                attempt(reply("x"))
                attempt(reply("y"))
                attempt(flags=1)
                attempt(flags=1)
            self.said = said
            with open(self.log, "w") as log: print("\\n".join(said), file=log)
            return None if text(requests[0]) == "decoupled" else [None]

        def initialize(self, args):
            self.log = os.path.join(pb_utils.get_model_dir(), "said")
    """)
    directories = [
        write_model(tmp_path, "s", source, mode=mode),
        write_model(tmp_path, "d", source, mode=mode, config=DECOUPLED),
    ]

    async def scenario(engine):
        assert await infer_text(engine, "s", "x") == ["x"]
        assert [answer.empty for answer in await stream(engine, text_request("d", "decoupled"))] == [True]

    served(tmp_path, scenario)
    first, second = ((directory / "said").read_text().splitlines() for directory in directories)
    unsupported = "Unable to send response. Unsupported flag provided."
    needed = "Inference Response object must be provided when the response flags is set to zero."
    closed = "Unable to send response. Response sender has been closed."
    assert first == [
        unsupported,
        needed,
        "Unable to send response. Non-decoupled model cannot send complete final before sending a response.",
        "sent",
        "Unable to send response. Non-decoupled model cannot send more than one response.",
        "sent",
        closed,
    ]
    assert second == [unsupported, needed, "sent", closed]


@both_modes
def test_a_model_sees_that_its_client_has_gone(tmp_path, mode):
    write_model(
        tmp_path,
        "c",
        methods("""
        def execute(self, requests):
            request, sender = requests[0], requests[0].get_response_sender()
            sender.send(reply("started"))
            while not request.is_cancelled(): time.sleep(0.001)
            sender.send(reply(str(sender.is_cancelled())), 1)
        """),
        mode=mode,
        config=DECOUPLED,
    )

    async def scenario(engine):
        answers, started, ended = [], asyncio.Event(), asyncio.Event()

        def deliver(response):
            answers.append(response)
            (ended if response.final else started).set()

        pending = engine.submit(text_request("c", "x"), deliver)
        await started.wait()
        pending.cancel()
        await ended.wait()
        assert texts(answers) == ["started", "True"]

    served(tmp_path, scenario)


@both_modes
def test_a_sender_answers_after_execute_has_returned(tmp_path, mode):
    source = methods("""
        def initialize(self, args):
            self.kept = None

        def execute(self, requests):
            if text(requests[0]) == "keep":
                self.kept = requests[0].get_response_sender()
                return [None]
            self.kept.send(reply("late"), flags=1)
            return [reply("now")]
    """)
    write_model(tmp_path, "s", source, mode=mode)

    async def scenario(engine):
        kept = asyncio.create_task(infer_text(engine, "s", "keep"))
        statistics = engine.model_statistics("s", "1")[0].statistics
        while not statistics.execution_count:  # noqa: ASYNC110  until `execute` has returned
            await asyncio.sleep(0.001)
        assert not kept.done()
        assert await infer_text(engine, "s", "send") == ["now"]
        assert await kept == ["late"]

    served(tmp_path, scenario)
