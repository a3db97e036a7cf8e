"""Sequences on real schedulers: each gets its own controls, states and place, and every request its response."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Mapping

import numpy as np
import pytest
from google.protobuf import text_format
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import Execution, InstanceSpec
from slipway.config.normalise import normalise
from slipway.config.rate_limit import ResourceCount
from slipway.config.sequences import sequence_plan
from slipway.core.pending import Pending
from slipway.core.request import RESCHEDULED, SEQUENCE_END, SEQUENCE_START, InferRequest, InferResponse
from slipway.core.statistics import ModelStatistics
from slipway.core.tensor import Tensor
from slipway.errors import Code, FailureReason, SlipwayError
from slipway.instances.inline import InlineInstance
from slipway.scheduling.limited import RateLimits
from slipway.scheduling.sequence_factory import build_sequence_scheduler
from slipway.scheduling.sequence_lane import Placeholder
from tests.scheduling.fakes import Client, Doubling, HeldInstance, doubled, signature_of

START, END = SEQUENCE_START, SEQUENCE_END
LOST = "the sequence was lost with the process of its instance of model 'm'; start it again"
CONTROLS = """
control_input [ { name: "S" control [ { kind: CONTROL_SEQUENCE_START int32_false_true: [ 3, 4 ] } ] },
                { name: "E" control [ { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 0.5 ] } ] },
                { name: "R" control [ { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } ] },
                { name: "I" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] } ]
"""
SUM = 'state [ { input_name: "SI" output_name: "SO" data_type: TYPE_FP32 dims: [ 2 ] } ]'


def plan_of(text, max_batch_size, directory):
    config = text_format.Parse(
        f"sequence_batching {{ {text} }}", model_config_pb2.ModelConfig(name="m", max_batch_size=max_batch_size)
    )
    normalise(config)
    return sequence_plan(config, directory)


class Sequences(Client):
    """A client of a scheduler for sequences on held instances."""

    def __init__(self, tmp_path, text, *instances, max_batch_size=4, signature=None, admission=None):
        signature = signature or signature_of(max_batch_size=max_batch_size)
        self.statistics = ModelStatistics()
        plan = plan_of(text, max_batch_size, tmp_path)
        super().__init__(
            build_sequence_scheduler(plan, signature, instances, self.statistics, "1", admission=admission)
        )

    def ask(self, id_, sequence=1, flags=0, value=1.0, **fields):
        return self.send(id_, ((value, 2 * value),), correlation_id=sequence, flags=flags, **fields)

    def refusal(self, *arguments, **fields):
        with pytest.raises(SlipwayError) as refused:
            self.ask(*arguments, **fields)
        return refused.value


def scenario(function):
    def test(tmp_path):
        asyncio.run(function(tmp_path))

    test.__name__ = function.__name__
    return test


def seen(batch, name):
    """Return an input of a batch as the model sees it."""
    return [pending.request.inputs[name].array.ravel().tolist() for pending in batch]


@scenario
async def test_the_model_gets_the_controls_of_each_request(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, CONTROLS, instance)
    for flags in (START, 0, END, START | END):
        client.ask(f"f{flags}", 2**64 - 1, flags)
        ((batch, _),) = instance.started
        controls = [seen(batch, name) for name in "SERI"]
        assert controls == [
            [[4 if flags & START else 3]],
            [[0.5 if flags & END else 0.0]],
            [[True]],
            [[2**64 - 1]],
        ]
        assert batch[0].request.inputs["S"].shape == (1, 1)
        instance.finish()
        assert client.output(f"f{flags}") == [[2.0, 4.0]]


@pytest.mark.parametrize(
    ("datatype", "sequence", "expected"),
    [
        ("INT32", 2**31 + 5, 5 - 2**31),
        ("UINT32", 2**32 + 7, 7),
        ("INT64", 9, 9),
        ("UINT64", 9, 9),
        ("STRING", "größe", "größe".encode()),
    ],
)
def test_the_id_has_the_type_of_its_control(tmp_path, datatype, sequence, expected):
    async def run():
        instance = HeldInstance()
        control = f'{{ name: "I" control [ {{ kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_{datatype} }} ] }}'
        client = Sequences(tmp_path, f"control_input [ {control} ]", instance, max_batch_size=0)
        client.ask("a", sequence, START)
        assert seen(instance.started[0][0], "I") == [[expected]]
        assert instance.started[0][0][0].request.inputs["I"].shape == (1,)

    asyncio.run(run())


@scenario
async def test_a_sequence_keeps_its_row_and_others_have_placeholders(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, CONTROLS, instance)
    for sequence in (1, 2, 3):
        client.ask(f"s{sequence}", sequence, START)
        instance.finish()
    client.ask("b", 3, value=5.0)
    ((batch, _),) = instance.started
    assert [type(pending) is Placeholder for pending in batch] == [True, True, False]
    assert seen(batch, "R") == [[False], [False], [True]]
    assert seen(batch, "X") == [[0.0, 0.0], [0.0, 0.0], [5.0, 10.0]]
    client.ask("c", 1)
    client.ask("d", 2)
    instance.finish([doubled(pending) for pending in batch])
    assert instance.batches[-1] == ["c", "d"]
    instance.finish()
    assert client.output("b") == [[10.0, 20.0]]
    assert client.order == ["s1", "s2", "s3", "b", "c", "d"]
    assert client.scheduler.is_idle()


@scenario
async def test_the_oldest_strategy_batches_what_waits(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "oldest { max_candidate_sequences: 3 }", instance)
    for sequence in range(1, 5):
        client.ask(f"a{sequence}", sequence, START)
        client.ask(f"b{sequence}", sequence, END)
    assert client.statistics.pending == 7
    while instance.started:
        instance.finish()
    assert instance.batches == [["a1"], ["a2", "a3", "b1"], ["b2", "b3", "a4"], ["b4"]]
    assert client.statistics.pending == 0


@scenario
async def test_the_instances_share_the_sequences_and_each_keeps_its_own(tmp_path):
    one, two = HeldInstance("m_0"), HeldInstance("m_1")
    client = Sequences(tmp_path, "oldest { }", one, two)
    for sequence in (1, 2):
        client.ask(f"a{sequence}", sequence, START)
        client.ask(f"b{sequence}", sequence)
        client.ask(f"c{sequence}", sequence, END)
    for instance in (one, two) * 3:
        instance.finish()
    assert (one.batches, two.batches) == ([["a1"], ["b1"], ["c1"]], [["a2"], ["b2"], ["c2"]])


@scenario
async def test_requests_that_no_sequence_can_have_are_refused(tmp_path):
    client = Sequences(tmp_path, CONTROLS, HeldInstance())
    assert client.refusal("a", 0, START).message == (
        "inference request to model 'm' must specify a non-zero or non-empty correlation ID"
    )
    assert client.refusal("b", 7).message == (
        "inference request for sequence 7 to model 'm' must specify the START flag on the first request of the sequence"
    )
    assert client.refusal("c", "seven", START).message == (
        "[request id: c] sequence batching control 'I' data-type is 'BYTES', but model 'm' expects 'UINT64'"
    )
    with pytest.raises(SlipwayError) as refused:
        client.send("d", ((1.0, 2.0),) * 2, correlation_id=1, flags=START)
    assert refused.value.message == (
        "inference request to model 'm' must specify batch-size 1 due to requirements of sequence batcher"
    )
    assert refused.value.code is Code.INVALID_ARG
    assert client.statistics.fail.count == 4
    assert client.scheduler.is_idle()


@scenario
async def test_without_an_id_control_ids_may_be_numbers_and_strings(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "", instance)
    client.ask("a", "7", START)
    instance.finish()
    client.ask("b", 7, START)
    instance.finish()
    client.ask("c", "7")
    assert client.refusal("d", "").message.endswith("must specify a non-zero or non-empty correlation ID")
    instance.finish()
    assert len(instance.batches[0]) == 1


@scenario
async def test_a_start_before_the_end_is_logged_and_served(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, SUM, instance)
    client.ask("a", 5, START)
    instance.finish([with_state(instance, 10.0)])
    client.ask("b", 5, START)
    assert seen(instance.started[0][0], "SI") == [[0.0, 0.0]]


def with_state(instance, value, name="SO", shape=(1, 2), dtype=np.float32):
    """Return the response to the one request in execution, with a state."""
    ((batch, _),) = instance.started
    response = doubled(batch[0])
    response.outputs.append(Tensor.from_array(name, np.full(shape, value, dtype)))
    return response


@scenario
async def test_a_state_goes_from_one_request_of_its_sequence_to_the_next(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, SUM, instance)
    for id_, sequence, flags, before, after in (
        ("a1", 1, START, 0.0, 1.0),
        ("b1", 2, START, 0.0, 7.0),
        ("a2", 1, 0, 1.0, 2.0),
        ("b2", 2, END, 7.0, 8.0),
        ("a3", 1, END, 2.0, 3.0),
        ("b3", 2, START, 0.0, 0.0),
    ):
        client.ask(id_, sequence, flags)
        batch, _ = instance.started[0]
        assert seen(batch, "SI")[-1] == [before, before]
        response = doubled(batch[-1])
        response.outputs.append(Tensor.from_array("SO", np.full((1, 2), after, np.float32)))
        instance.finish([InferResponse()] * (len(batch) - 1) + [response])
        assert [tensor.name for tensor in client.answers[id_][0].outputs] == ["Y"]


@scenario
async def test_a_state_output_is_in_the_response_if_it_is_declared_and_wanted(tmp_path):
    instance = HeldInstance()
    signature = signature_of(max_batch_size=4, outputs=("Y", "SO"))
    client = Sequences(tmp_path, SUM, instance, signature=signature)
    client.ask("a", 1, START)
    instance.finish([with_state(instance, 1.0)])
    client.ask("b", 1, outputs=("Y",))
    assert instance.started[0][0][0].request.outputs == ("Y", "SO")
    instance.finish([with_state(instance, 2.0)])
    client.ask("c", 1, outputs=("SO",))
    assert seen(instance.started[0][0], "SI") == [[2.0, 2.0]]
    instance.finish([with_state(instance, 3.0)])
    names = [[tensor.name for tensor in client.answers[id_][0].outputs] for id_ in "abc"]
    assert names == [["Y", "SO"], ["Y"], ["SO"]]


@scenario
async def test_a_failed_request_leaves_the_state_as_it_is(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, SUM, instance)
    client.ask("a", 1, START)
    instance.finish([with_state(instance, 4.0)])
    client.ask("b", 1)
    instance.finish([InferResponse(error=SlipwayError(Code.INTERNAL, "no"))])
    client.ask("c", 1)
    assert seen(instance.started[0][0], "SI") == [[4.0, 4.0]]


@pytest.mark.parametrize(("shape", "dtype"), [((1, 3), np.float32), ((2,), np.float32), ((1, 2), np.int32)])
def test_a_state_that_the_next_request_could_not_have_is_an_error(tmp_path, shape, dtype):
    async def run():
        instance = HeldInstance()
        client = Sequences(tmp_path, SUM, instance)
        client.ask("a", 1, START)
        instance.finish([with_state(instance, 1, shape=shape, dtype=dtype)])
        assert "output state 'SO' of model 'm' has datatype" in client.error("a").message
        client.ask("b", 1)
        assert seen(instance.started[0][0], "SI") == [[0.0, 0.0]]

    asyncio.run(run())


@scenario
async def test_states_of_variable_size_batch_only_with_their_like(tmp_path):
    instance = HeldInstance()
    growing = 'oldest { } state [ { input_name: "SI" output_name: "SO" data_type: TYPE_FP32 dims: [ -1 ] } ]'
    client = Sequences(tmp_path, growing, instance)
    client.ask("a1", 1, START)
    assert seen(instance.started[0][0], "SI") == [[0.0]]
    instance.finish([with_state(instance, 1.0, shape=(1, 3))])
    client.ask("b1", 2, START)
    for id_, sequence, flags in (("a2", 1, 0), ("c1", 3, START), ("d1", 4, START)):
        client.ask(id_, sequence, flags)
    instance.finish([with_state(instance, 1.0, shape=(1, 1))])
    assert instance.batches[-1] == ["a2"]
    instance.finish([with_state(instance, 1.0, shape=(1, 4))])
    assert instance.batches[-1] == ["c1", "d1"]


@scenario
async def test_the_next_request_waits_for_a_state_that_comes_after_the_execution(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, SUM, instance)
    pending = client.ask("a", 1, START)
    client.ask("b", 1)
    response = with_state(instance, 9.0)
    instance.finish([None])
    assert instance.started == []
    pending.deliver(response)
    assert seen(instance.started[0][0], "SI") == [[9.0, 9.0]]


@scenario
async def test_without_states_the_next_request_follows_the_execution(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "oldest { }", instance)
    pending = client.ask("a", 1, START)
    client.ask("b", 1)
    instance.finish([None])
    assert instance.batches == [["a"], ["b"]]
    pending.deliver(doubled(pending))
    instance.finish()
    assert client.order == ["a", "b"]


@scenario
async def test_preserved_order_is_that_in_which_requests_came_to_their_instance(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "oldest { preserve_ordering: true }", instance)
    late = client.ask("a", 1, START)
    instance.finish([None])
    client.ask("b", 2, START)
    instance.finish()
    assert client.order == []
    late.deliver(doubled(late))
    assert client.order == ["a", "b"]


@scenario
async def test_cancelling_a_waiting_request_ends_its_sequence(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "", instance, max_batch_size=0)
    client.ask("a", 1, START)
    second = client.ask("b", 1)
    client.ask("c", 1)
    client.ask("d", 2, START)
    second.cancel()
    assert [client.error(id_).code for id_ in "bc"] == [Code.CANCELLED] * 2
    assert "must specify the START flag" in client.refusal("e", 1).message
    instance.finish()
    assert instance.batches == [["a"], ["d"]]
    assert client.statistics.failures[FailureReason.CANCELED] == 2
    instance.finish()
    assert client.statistics.pending == 0


@scenario
async def test_a_request_that_comes_while_its_sequence_gets_a_place_waits_for_those_before_it(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "oldest { max_candidate_sequences: 2 }", instance, max_batch_size=0)

    def answered(response):
        if response.id == "b2":
            client.ask("c2", 3, END, 4.0)

    client.on_answer = answered
    client.ask("a", 1, START)
    first = client.ask("b", 2, START)
    client.ask("b2", 2)
    client.ask("c", 3, START, 3.0)
    first.cancel()
    for _ in range(3):
        instance.finish()
    assert instance.batches == [["a"], ["c"], ["c2"]]
    assert [client.output("c"), client.output("c2")] == [[[6.0, 12.0]], [[8.0, 16.0]]]
    assert client.statistics.pending == 0


@scenario
async def test_cancelling_a_request_that_waits_for_its_instance_ends_its_sequence(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "", instance)
    client.ask("a", 1, START)
    waiting = client.ask("b", 2, START)
    client.ask("c", 2)
    waiting.cancel()
    assert [client.error(id_).code for id_ in "bc"] == [Code.CANCELLED] * 2
    assert "must specify the START flag" in client.refusal("d", 2).message
    instance.finish()
    assert client.scheduler.is_idle()
    assert client.statistics.pending == 0


@scenario
async def test_cancelling_a_request_in_execution_leaves_its_sequence(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "", instance)
    client.ask("a", 1, START).cancel()
    client.ask("b", 1)
    instance.finish()
    instance.finish()
    assert client.order == ["a", "b"]


@scenario
async def test_an_idle_sequence_ends_and_its_place_is_given_away(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "max_sequence_idle_microseconds: 20000", instance, max_batch_size=0)
    client.ask("a", 1, START)
    instance.finish()
    client.ask("b", 2, START)
    assert instance.started == []
    instance.has_started.clear()
    await instance.has_started.wait()
    assert instance.batches == [["a"], ["b"]]
    assert "must specify the START flag" in client.refusal("c", 1).message


@scenario
async def test_a_sequence_that_waits_too_long_for_a_place_is_refused(tmp_path):
    instance, answered = HeldInstance(), asyncio.Event()
    client = Sequences(tmp_path, "", instance, max_batch_size=0)
    client.on_answer = lambda _: answered.set()
    client.ask("a", 1, START)
    client.ask("b", 2, START, timeout_us=10_000)
    await answered.wait()
    assert client.error("b").message == "timeout of the corresponding sequence has been expired"
    assert client.error("b").code is Code.UNAVAILABLE
    assert client.statistics.failures[FailureReason.REJECTED] == 1


@scenario
async def test_draining_finishes_what_was_accepted_and_waits_for_no_more(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "", instance, max_batch_size=0)
    client.ask("a", 1, START)
    client.ask("b", 2, START)
    client.ask("c", 3, START)
    instance.finish()
    drained = asyncio.create_task(client.scheduler.drain())
    await asyncio.sleep(0)
    assert client.refusal("d", 1).code is Code.UNAVAILABLE
    assert instance.batches == [["a"], ["b"]]
    instance.finish()
    instance.finish()
    await drained
    assert client.order == ["a", "b", "c"]


@scenario
async def test_an_iterative_request_executes_until_the_model_lets_it_go(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, f"iterative_sequence: true {CONTROLS}", instance)
    client.ask("a", 0)
    for turn in range(3):
        ((batch, _),) = instance.started
        assert (seen(batch, "S"), batch[0].request.flags) == ([[3 if turn else 4]], 0 if turn else START)
        instance.finish([RESCHEDULED])
        assert client.order == []
    instance.finish()
    assert client.output("a") == [[2.0, 4.0]]
    assert client.scheduler.is_idle()
    assert client.statistics.success.count == 1
    assert client.statistics.execution_count == 4
    assert "must specify the START flag" in client.refusal("b", 4).message


@scenario
async def test_iterative_requests_take_turns_and_later_ones_join(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "iterative_sequence: true oldest { }", instance)
    client.ask("a", 0)
    client.ask("b", 0)
    instance.finish([RESCHEDULED])
    assert instance.batches == [["a"], ["b", "a"]]
    client.ask("c", 0)
    instance.finish([RESCHEDULED, doubled(instance.started[0][0][1])])
    assert instance.batches[-1] == ["c", "b"]
    instance.finish()
    assert client.order == ["a", "c", "b"]


@scenario
async def test_a_cancelled_iterative_request_is_not_executed_again(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "iterative_sequence: true", instance)
    client.ask("a", 0).cancel()
    instance.finish([RESCHEDULED])
    assert client.error("a").code is Code.CANCELLED
    assert client.scheduler.is_idle()
    assert client.statistics.pending == 0


@scenario
async def test_iterative_requests_with_one_id_run_one_after_the_other(tmp_path):
    instance = HeldInstance()
    client = Sequences(tmp_path, "iterative_sequence: true", instance)
    client.ask("a", 7, START)
    client.ask("b", 7, START)
    instance.finish([RESCHEDULED])
    assert instance.batches == [["a"], ["a"]]
    instance.finish()
    assert instance.batches[2:] == [["b"]]


@scenario
async def test_sequences_and_other_models_share_resources(tmp_path):
    limits = RateLimits([ResourceCount("R", 1)])
    text = 'instance_group [ { rate_limiter { resources [ { name: "R" count: 1 } ] } } ]'
    config = text_format.Parse(text, model_config_pb2.ModelConfig(name="m", max_batch_size=4))
    instances = [HeldInstance(f"m_{index}") for index in range(3)]
    specs = [InstanceSpec("m", index, "CPU") for index in range(2)]
    two = Sequences(tmp_path, "oldest { }", *instances[:2], admission=limits.admit(config, specs))
    one = Sequences(tmp_path, "", instances[2], admission=limits.admit(config, specs[:1]))
    for turn, flags in enumerate((START, 0, END)):
        for sequence in (1, 2, 3):
            two.ask(f"{sequence}.{turn}", sequence, flags)
            one.ask(f"{sequence}.{turn}", sequence, flags)
    while running := [instance for instance in instances if instance.started]:
        (instance,) = running
        instance.finish()
    assert (len(one.order), len(two.order)) == (9, 9)
    assert sum(limits.limiter.used.values()) == 0
    await two.scheduler.drain()
    await one.scheduler.drain()
    assert limits.limiter.resources.totals == {}


@scenario
async def test_the_environment_delays_the_first_execution(tmp_path):
    instance = HeldInstance()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TRITONSERVER_DELAY_SCHEDULER", "3")
        patch.setenv("TRITONSERVER_BACKLOG_DELAY_SCHEDULER", "1")
        client = Sequences(tmp_path, "", instance, max_batch_size=2)
    client.ask("a1", 1, START)
    client.ask("a2", 1)
    client.ask("b1", 2, START | END)
    assert instance.started == []
    client.ask("c1", 3, START | END)
    assert instance.batches == [["a1", "b1"]]
    instance.finish()
    assert instance.batches[1:] == [["a2", "c1"]]
    client.ask("a3", 1)
    instance.finish()
    assert instance.batches[2:] == [["a3"]]


@scenario
async def test_sequences_that_are_never_ended_leave_nothing_behind(tmp_path):
    text = "max_sequence_idle_microseconds: 1000 oldest { max_candidate_sequences: 1000 }"
    client = Sequences(tmp_path, text, InlineInstance("m_0", Doubling()))
    loop, inputs = asyncio.get_running_loop(), {"X": Tensor.from_array("X", np.zeros((1, 2), np.float32))}

    async def open_many():
        answered = []
        for number in range(1, 5001):
            request = InferRequest("m", inputs=inputs, correlation_id=number, flags=START)
            client.scheduler.submit(Pending(request, 1, 0, loop, lambda response: answered.append(response.error)))
        while len(answered) < 5000 or client.scheduler._timer is not None:  # noqa: ASYNC110  no event says so
            await asyncio.sleep(0.001)
        assert answered == [None] * 5000

    await open_many()
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(3):
        await open_many()
    gc.collect()
    assert sys.getallocatedblocks() < before + 1000


class MortalInstance(HeldInstance):
    """An instance that goes on after its process has died."""

    deaths = 0

    def die(self):
        self.deaths += 1
        ((batch, _),) = self.started
        self.finish([InferResponse(error=SlipwayError(Code.INTERNAL, "died")) for _ in batch])


@scenario
async def test_a_sequence_that_the_model_has_forgotten_is_not_continued(tmp_path):
    instance = MortalInstance()
    client = Sequences(tmp_path, "oldest { max_candidate_sequences: 4 }", instance, max_batch_size=1)
    client.ask("a1", 1, START)
    instance.finish()
    client.ask("b1", 2, START)
    client.ask("a2", 1)
    client.ask("a3", 1)
    client.ask("c1", 3, START)
    instance.die()
    assert [client.error(id_).message for id_ in ("b1", "a2", "a3")] == ["died", *[LOST] * 2]
    assert instance.batches[2:] == [["c1"]]
    client.ask("b2", 2)
    assert client.error("b2").message == LOST
    client.ask("b3", 2, START)
    instance.finish()
    instance.finish()
    assert (client.order[-2:], client.statistics.pending) == (["c1", "b3"], 0)
    assert client.scheduler.is_idle()


@scenario
async def test_a_sequence_whose_start_waits_while_a_process_dies_begins_in_the_next_one(tmp_path):
    instance = MortalInstance()
    client = Sequences(tmp_path, "oldest { max_candidate_sequences: 4 }", instance, max_batch_size=1)
    client.ask("a1", 1, START)
    client.ask("b1", 2, START)
    instance.die()
    instance.finish()
    client.ask("b2", 2)
    instance.finish()
    assert instance.batches == [["a1"], ["b1"], ["b2"]]
    assert client.order == ["a1", "b1", "b2"]


@pytest.mark.parametrize(
    "strategy",
    ["direct { %s minimum_slot_utilization: 1 }", "oldest { max_candidate_sequences: 4 %s }"],
    ids=["direct", "oldest"],
)
def test_what_waits_for_others_while_an_idle_process_dies_is_not_continued(tmp_path, strategy):
    async def wait_for(condition):
        while not condition():  # noqa: ASYNC110  a timer of the scheduler
            await asyncio.sleep(0.001)

    async def run():
        instance = MortalInstance()
        delayed = strategy % "max_queue_delay_microseconds: 20000"
        client = Sequences(tmp_path, delayed, instance, max_batch_size=4)
        client.ask("a1", 1, START)
        await wait_for(lambda: instance.started)
        instance.finish()
        client.ask("a2", 1)
        client.ask("b1", 2, START)
        instance.deaths += 1
        await wait_for(lambda: instance.started)
        instance.finish()
        assert client.error("a2").message == LOST
        client.ask("b2", 2)
        client.ask("a3", 1, START)
        await wait_for(lambda: instance.started)
        instance.finish()
        real = [[id_ for id_ in batch if id_] for batch in instance.batches]
        assert real == [["a1"], ["b1"], ["a3", "b2"] if "direct" in strategy else ["b2", "a3"]]
        assert (client.scheduler.is_idle(), client.statistics.pending) == (True, 0)

    asyncio.run(run())


@scenario
async def test_what_waits_for_resources_while_an_idle_process_dies_is_not_continued(tmp_path):
    limits = RateLimits([ResourceCount("R", 1)])
    text = 'instance_group { rate_limiter { resources { name: "R" count: 1 } } }'
    config = text_format.Parse(text, model_config_pb2.ModelConfig())
    specs = [InstanceSpec("i", 0, "CPU")]
    instance, other = MortalInstance(), HeldInstance()
    strategy = "oldest { max_candidate_sequences: 4 }"
    client = Sequences(tmp_path, strategy, instance, admission=limits.admit(config, specs))
    holder = Sequences(tmp_path, strategy, other, admission=limits.admit(config, specs))
    client.ask("a1", 1, START)
    instance.finish()
    holder.ask("h", 1, START)
    client.ask("a2", 1)
    client.ask("b1", 2, START)
    instance.deaths += 1
    other.finish()
    assert client.error("a2").message == LOST
    assert instance.batches[1:] == [["b1"]]
    instance.finish()
    holder.ask("h2", 1)
    other.finish()
    assert (client.order, holder.order) == (["a1", "a2", "b1"], ["h", "h2"])


@scenario
async def test_a_state_that_the_server_keeps_outlives_the_process(tmp_path):
    instance = MortalInstance()
    client = Sequences(tmp_path, SUM, instance)
    client.ask("a", 1, START)
    instance.finish([with_state(instance, 5.0)])
    client.ask("b", 1)
    instance.die()
    client.ask("c", 1)
    assert seen(instance.started[0][0], "SI") == [[5.0, 5.0]]


class Adding:
    """A model that adds X to its state, whose rows must stay where they are, and answers with the sum."""

    def execute(self, batch):
        return Execution([self.sum(pending.request.inputs) for pending in batch], 0, 0)

    @staticmethod
    def sum(inputs: Mapping[str, Tensor]):
        total = inputs["SI"].array + inputs["X"].array
        return InferResponse(outputs=[Tensor.from_array("Y", total), Tensor.from_array("SO", total)])

    def check_ready(self):
        pass

    def close(self):
        pass


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3), st.integers(1, 100)), max_size=40),
    st.sampled_from(["", "oldest { max_candidate_sequences: 2 }", "oldest { preserve_ordering: true }"]),
    st.integers(1, 2),
)
def test_each_state_goes_to_its_own_sequence(tmp_path_factory, requests, strategy, instances):
    """Whatever comes in whatever order, each response is the sum over the values of its own sequence."""

    async def run():
        executors = [InlineInstance(f"m_{index}", Adding()) for index in range(instances)]
        client = Sequences(tmp_path_factory.getbasetemp(), f"{strategy} {SUM}", *executors, max_batch_size=2)
        sums, expected = {}, {}
        for number, (sequence, flags, value) in enumerate(requests):
            if flags & START:
                sums[sequence] = 0
            elif sequence not in sums:
                assert client.refusal(str(number), sequence, flags).code is Code.INVALID_ARG
                continue
            sums[sequence] += value
            expected[str(number)] = sums[sequence]
            client.ask(str(number), sequence, flags, value=value)
            if flags & END:
                del sums[sequence]
        await client.scheduler.drain()
        assert {id_: client.output(id_)[0][0] for id_ in expected} == expected

    asyncio.run(run())


@pytest.mark.parametrize("strategy", ["direct { }", "oldest { max_candidate_sequences: 4 }"])
def test_while_executions_are_quick_a_batch_has_what_comes_in_the_same_turns_of_the_loop(tmp_path, strategy):
    async def run():
        instance = HeldInstance()
        client = Sequences(tmp_path, strategy, instance)

        def executed():
            return [[id_ for id_ in batch if id_] for batch in instance.batches]  # without placeholders

        for number in range(64):
            client.ask(f"w{number}", 1, START if number == 0 else 0)
            instance.finish()  # a lone sequence never waits for others
        client.ask("a", 2, START)
        assert instance.started == []
        client.ask("b", 1)
        instance.finish()  # all sequences were there
        client.ask("c", 2)
        await asyncio.sleep(0)
        assert executed()[-1] == ["c"]  # the turn has brought nothing more
        client.ask("d", 1)  # the instance is busy
        client.ask("e", 3, START)
        instance.finish()
        instance.finish()
        client.ask("f", 2)
        await asyncio.sleep(0)
        assert executed()[-3:] == [["c"], ["d", "e"], ["f"]]
        instance.finish(duration_ns=10**9)
        client.ask("g", 3)
        assert executed()[-1] == ["g"]  # executions take long, so that others may gather meanwhile
        instance.finish()

    asyncio.run(run())
