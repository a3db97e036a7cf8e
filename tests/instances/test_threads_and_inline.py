"""In-process instances, and opening several of them."""

import asyncio
import threading
import time
from types import SimpleNamespace

import pytest

from slipway.backends.api import Execution, InstanceSpec, Placement
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse
from slipway.errors import Code, FailureReason, SlipwayError, invalid, unavailable
from slipway.instances.factory import open_instances
from slipway.instances.inline import InlineInstance
from slipway.instances.thread import ThreadInstance

PLACEMENTS = [Placement.INLINE, Placement.THREAD]


class Model:
    """A loaded model whose executors run `work` on a batch."""

    def __init__(self, placement, work=None, open_error=None):
        self.placement = placement
        self.work = work or (lambda batch: [InferResponse() for _ in batch])
        self.open_error = open_error
        self.events = []  # (what, thread name)

    def note(self, what):
        self.events.append((what, threading.current_thread().name))

    def open(self, spec):
        if self.open_error is not None and spec.index == 1:
            raise self.open_error
        self.note("open")
        return self

    def execute(self, batch):
        self.note("execute")
        now = time.monotonic_ns()
        return Execution(self.work(batch), now, now)

    def check_ready(self):
        self.note("check_ready")

    def close(self):
        self.note("close")

    def unload(self):
        pass


def specs(count):
    return [InstanceSpec(f"m_0_{index}", index, "CPU") for index in range(count)]


async def opened(model, count=1):
    return await open_instances(model, SimpleNamespace(), specs(count))


async def outcome_of(instance, count=1):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    batch = [Pending(InferRequest("m"), 1, time.monotonic_ns(), loop, print) for _ in range(count)]
    instance.start(batch, done.set_result)
    return await done


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_execution_gives_an_answer_per_request_and_its_clock_readings_in_order(placement):
    async def run():
        (instance,) = await opened(Model(placement))
        outcome = await outcome_of(instance, 3)
        await instance.close()
        assert len(outcome.responses) == 3
        timing = outcome.timing
        assert timing.start <= timing.input_end <= timing.output_start <= timing.end

    asyncio.run(run())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_error_of_the_model_answers_every_request_of_the_batch(placement):
    def work(batch):
        raise invalid("bad input")

    async def run():
        (instance,) = await opened(Model(placement, work))
        outcome = await outcome_of(instance, 2)
        await instance.close()
        errors = [response.error for response in outcome.responses]
        assert [(error.code, error.message, error.reason) for error in errors] == [
            (Code.INVALID_ARG, "bad input", FailureReason.BACKEND)
        ] * 2
        assert errors[0] is not errors[1]
        assert errors[0].__traceback__ is None

    asyncio.run(run())


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("raised", [ValueError("/secret/path"), SystemExit(3)])
def test_an_unforeseen_exception_is_logged_and_answered_without_its_text(placement, raised, caplog):
    def work(batch):
        raise raised

    async def run():
        (instance,) = await opened(Model(placement, work))
        outcome = await outcome_of(instance)
        assert (await outcome_of(instance)).responses  # the instance lives on
        await instance.close()
        (response,) = outcome.responses
        assert response.error.code is Code.INTERNAL
        assert response.error.message == (
            f"Failed to process the request(s) for model instance 'm_0_0', message: {type(raised).__name__}"
        )

    asyncio.run(run())
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_wrong_number_of_answers_is_an_error_to_every_request(placement):
    async def run():
        (instance,) = await opened(Model(placement, lambda _: [InferResponse()]))
        outcome = await outcome_of(instance, 2)
        await instance.close()
        assert [response.error.message for response in outcome.responses] == [
            "model instance 'm_0_0' returned 1 responses to 2 requests"
        ] * 2

    asyncio.run(run())


def test_a_threads_executor_lives_in_that_thread_alone():
    async def run():
        model = Model(Placement.THREAD)
        (instance,) = await opened(model)
        await outcome_of(instance)
        await instance.check_ready()
        await instance.close()
        assert model.events == [(what, "m_0_0") for what in ("open", "execute", "check_ready", "close")]
        assert "m_0_0" not in [thread.name for thread in threading.enumerate()]

    asyncio.run(run())


def test_inline_work_is_done_before_start_returns():
    async def run():
        instance = InlineInstance("m_0", Model(Placement.INLINE))
        outcomes = []
        instance.start([Pending(InferRequest("m"), 1, 0, asyncio.get_running_loop(), print)], outcomes.append)
        assert len(outcomes) == 1

    asyncio.run(run())


def test_closing_finishes_what_was_started():
    async def run():
        release = threading.Event()

        def work(batch):
            release.wait(60)
            return [InferResponse() for _ in batch]

        (instance,) = await opened(Model(Placement.THREAD, work))
        executing = asyncio.create_task(outcome_of(instance))
        await asyncio.sleep(0)
        closing = asyncio.create_task(instance.close())
        await asyncio.sleep(0)
        release.set()
        await closing
        assert (await executing).responses[0].error is None

    asyncio.run(run())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_an_executor_that_is_not_ready_says_so(placement):
    def refuse():
        raise unavailable("not now")

    async def run():
        model = Model(placement)
        model.check_ready = refuse
        (instance,) = await opened(model)
        with pytest.raises(SlipwayError, match="not now"):
            await instance.check_ready()
        await instance.close()

    asyncio.run(run())


def test_instances_open_side_by_side():
    async def run():
        together = threading.Barrier(3, timeout=60)
        model = Model(Placement.THREAD)
        opener = model.open
        model.open = lambda spec: (together.wait(), opener(spec))[1]
        instances = await opened(model, 3)
        assert [instance.name for instance in instances] == ["m_0_0", "m_0_1", "m_0_2"]
        await asyncio.gather(*(instance.close() for instance in instances))

    asyncio.run(run())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_when_one_instance_cannot_be_opened_the_others_are_closed_and_its_error_is_raised(placement):
    async def run():
        model = Model(placement, open_error=unavailable("no room"))
        with pytest.raises(SlipwayError, match="no room"):
            await opened(model, 3)
        assert [what for what, _ in model.events].count("close") == 2
        assert not [thread for thread in threading.enumerate() if thread.name.startswith("m_0_")]

    asyncio.run(run())


def test_a_model_that_exits_while_opening_does_not_end_the_server():
    async def run():
        instance = ThreadInstance("m_0", asyncio.get_running_loop())

        def leave():
            raise SystemExit

        with pytest.raises(SlipwayError, match="tried to exit"):
            await instance.open(leave)

    asyncio.run(run())


def poisoned(raised):
    """Return the work of a model that raises for any batch with the request `bad`."""

    def work(batch):
        if any(pending.request.id == "bad" for pending in batch):
            raise raised
        return [InferResponse() for _ in batch]

    return work


async def outcome_of_poisoned(instance, names=("a", "bad", "c")):
    loop = asyncio.get_running_loop()
    done = loop.create_future()
    batch = [Pending(InferRequest("m", id=name), 1, time.monotonic_ns(), loop, print) for name in names]
    instance.start(batch, done.set_result)
    return await done


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("raised", [invalid("bad input"), ValueError("bad"), SystemExit(1)])
def test_a_bad_request_fails_alone_on_a_stateless_model(placement, raised):
    async def run():
        model = Model(placement, poisoned(raised))
        model.stateless = True
        (instance,) = await opened(model)
        outcome = await outcome_of_poisoned(instance)
        await instance.close()
        errors = [response.error for response in outcome.responses]
        assert [error is not None for error in errors] == [False, True, False]
        assert errors[1].reason is FailureReason.BACKEND
        assert errors[1].__traceback__ is None
        timing = outcome.timing
        assert timing.start <= timing.input_end <= timing.output_start <= timing.end
        assert [what for what, _ in model.events].count("execute") == 4

    asyncio.run(run())


@pytest.mark.parametrize("placement", PLACEMENTS)
def test_a_batch_is_not_run_again_on_a_model_that_may_keep_state(placement):
    async def run():
        model = Model(placement, poisoned(invalid("bad input")))
        (instance,) = await opened(model)
        outcome = await outcome_of_poisoned(instance)
        await instance.close()
        assert [response.error.message for response in outcome.responses] == ["bad input"] * 3
        assert [what for what, _ in model.events].count("execute") == 1

    asyncio.run(run())


def test_a_request_that_is_cancelled_meanwhile_is_not_run_again():
    async def run():
        def work(batch):
            if len(batch) > 1:
                batch[0].cancelled = True
                raise invalid("bad input")
            return [InferResponse()]

        model = Model(Placement.INLINE, work)
        model.stateless = True
        (instance,) = await opened(model)
        outcome = await outcome_of(instance, 2)
        first, second = outcome.responses
        assert (first.error.code, first.error.reason) == (Code.CANCELLED, FailureReason.CANCELED)
        assert second.error is None

    asyncio.run(run())
