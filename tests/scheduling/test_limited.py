"""Models that share resources: every scheduler executes only while it has them, and gives them back in every case."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.backends.api import InstanceSpec
from slipway.config.rate_limit import ResourceCount
from slipway.core.padding import PaddedInput, PaddingRule
from slipway.core.statistics import ModelStatistics
from slipway.errors import Code, SlipwayError
from slipway.instances.inline import InlineInstance
from slipway.instances.thread import ThreadInstance
from slipway.scheduling.factory import build_scheduler
from slipway.scheduling.limited import RateLimits
from slipway.scheduling.ordered import OrderedScheduler
from tests.scheduling.fakes import Client, Doubling, HeldInstance, signature_of

ONE = 'instance_group [ { rate_limiter { resources [ { name: "R" count: 1 } ] } } ]'
DELAYED = "dynamic_batching { max_queue_delay_microseconds: 3600000000 preferred_batch_size: [ 2 ] }"


class Server:
    """Models that share one rate limiter."""

    def __init__(self, *counts):
        self.limits = RateLimits(counts)

    def load(self, *instances, text=ONE, signature=None):
        """Return a client of a model with `instances`; a config with several groups has one instance in each."""
        config = text_format.Parse(text, model_config_pb2.ModelConfig(name="m", max_batch_size=8))
        last = len(config.instance_group) - 1
        specs = [InstanceSpec("m", index, "CPU", group=min(index, last)) for index in range(len(instances))]
        admission = self.limits.admit(config, specs)
        statistics = ModelStatistics()
        client = Client(
            build_scheduler(config, signature or signature_of(), instances, statistics, "1", admission=admission)
        )
        client.statistics = statistics
        return client

    @property
    def used(self):
        return sum(self.limits.limiter.used.values())


def scenario(function):
    def test():
        asyncio.run(function())

    test.__name__ = function.__name__
    return test


def needs(count, priority=1, extra=""):
    resources = f'resources [ {{ name: "R" count: {count} }} ]'
    return f"instance_group [ {{ rate_limiter {{ {resources} priority: {priority} }} }} ]\n{extra}"


@scenario
async def test_two_models_with_one_resource_never_execute_at_once():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    first, second = server.load(one), server.load(two)
    for id_ in "ab":
        first.send(id_)
        second.send(id_)
    turns = []
    while one.started or two.started:
        assert len(one.started) + len(two.started) == 1
        turns.append(one if one.started else two)
        turns[-1].finish()
    assert turns == [one, two, one, two]
    assert (first.order, second.order) == (["a", "b"], ["a", "b"])
    assert server.used == 0


@scenario
async def test_a_model_without_resources_does_not_take_part():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    limited, free = server.load(one), server.load(two, text="")
    limited.send("a")
    free.send("a")
    assert (len(one.started), len(two.started)) == (1, 1)


@scenario
async def test_instances_of_one_model_share_resources_too():
    server, instances = Server(), [HeldInstance() for _ in range(3)]
    client = server.load(*instances)
    for id_ in "abcd":
        client.send(id_)
    for _ in range(4):
        (running,) = [instance for instance in instances if instance.started]
        running.finish()
    assert client.order == ["a", "b", "c", "d"]
    assert sorted(len(instance.batches) for instance in instances) == [1, 1, 2]


@scenario
async def test_priorities_share_what_is_scarce():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    urgent, slow = server.load(one), server.load(two, text=needs(1, priority=3))
    for index in range(40):
        urgent.send(str(index))
        slow.send(str(index))
    for _ in range(40):
        (one if one.started else two).finish()
    assert (len(urgent.order), len(slow.order)) == (30, 10)


@scenario
async def test_a_batch_is_formed_when_the_resource_is_free():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    other, batching = server.load(one), server.load(two, text=f"{ONE} dynamic_batching {{ }}")
    other.send("a")
    for id_ in "abc":
        batching.send(id_)
    assert two.batches == []
    assert batching.statistics.pending == 3
    one.finish()
    assert two.batches == [["a", "b", "c"]]


@scenario
async def test_a_batch_that_is_not_due_holds_nothing():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    other, delayed = server.load(one), server.load(two, text=f"{ONE} {DELAYED}")
    delayed.send("a")
    assert (server.used, two.batches) == (0, [])
    other.send("a")
    delayed.send("b")
    assert two.batches == []  # due, but the other model executes
    one.finish()
    assert two.batches == [["a", "b"]]


@scenario
async def test_a_delayed_batch_runs_when_its_time_comes():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    other = server.load(one)
    delayed = server.load(two, text=f"{ONE} dynamic_batching {{ max_queue_delay_microseconds: 2000 }}")
    delayed.send("a")
    other.send("a")
    await asyncio.sleep(0.01)
    assert two.batches == []
    one.finish()
    await two.has_started.wait()
    assert two.batches == [["a"]]


@scenario
async def test_batches_by_length_wait_for_the_resource_too():
    rule = PaddingRule((PaddedInput("X", 0, (1,)),), max_share=0.9)
    server, one, two = Server(), HeldInstance(), HeldInstance()
    signature = replace(signature_of(dims=(-1,)), padding=rule)
    other = server.load(one)
    lengths = server.load(two, text=f"{ONE} dynamic_batching {{ }}", signature=signature)
    other.send("a")
    lengths.send("short", [[1.0]])
    lengths.send("long", [[1.0, 2.0]])
    assert two.batches == []
    one.finish()
    assert two.batches == [["short", "long"]]


@scenario
async def test_ordered_answers_stay_in_order():
    server, instances = Server(ResourceCount("R", 2)), [HeldInstance(), HeldInstance()]
    client = server.load(
        *instances, text=f"{ONE} dynamic_batching {{ preserve_ordering: true preferred_batch_size: [ 1 ] }}"
    )
    assert isinstance(client.scheduler, OrderedScheduler)
    for id_ in "abc":
        client.send(id_)
    assert all(instance.started for instance in instances)
    while running := [instance for instance in instances if instance.started]:
        running[-1].finish()
    assert client.order == ["a", "b", "c"]
    await client.scheduler.drain()
    assert server.limits.limiter.resources.totals == {}


@scenario
async def test_a_group_that_can_run_does_not_wait_for_one_that_cannot():
    server, blocker, first, second = Server(), HeldInstance(), HeldInstance(), HeldInstance()
    other = server.load(blocker)
    group = 'instance_group [ {{ rate_limiter {{ resources [ {{ name: "{}" count: 1 }} ] }} }} ]'
    client = server.load(first, second, text=group.format("R") + group.format("S"))
    other.send("a")
    client.send("a")
    assert (first.batches, second.batches) == ([], [["a"]])
    second.finish()
    blocker.finish()
    assert first.batches == []  # nothing waits any more
    assert server.used == 0


@scenario
async def test_a_request_that_is_cancelled_while_it_waits_makes_room_for_others():
    server, one, two, three = Server(ResourceCount("R", 3)), HeldInstance(), HeldInstance(), HeldInstance()
    small, large, last = server.load(one, text=needs(2)), server.load(two, text=needs(3)), server.load(three)
    small.send("a")
    waiting = large.send("a")
    last.send("a")
    assert three.batches == []  # behind the large one, which it would delay
    waiting.cancel()
    assert large.error("a").code is Code.CANCELLED
    assert three.batches == [["a"]]
    one.finish()
    three.finish()
    assert two.batches == []
    assert server.used == 0


@scenario
async def test_a_request_that_times_out_while_it_waits_makes_room_for_others():
    policy = "default_queue_policy { default_timeout_microseconds: 1000 }"
    server, one, two, three = Server(ResourceCount("R", 3)), HeldInstance(), HeldInstance(), HeldInstance()
    small, last = server.load(one, text=needs(2)), server.load(three)
    large = server.load(two, text=needs(3, extra=f"dynamic_batching {{ {policy} }}"))
    small.send("a")
    large.send("a")
    last.send("a")
    await three.has_started.wait()
    assert large.error("a").message.endswith("Request timeout expired")
    assert two.batches == []


@scenario
async def test_a_failed_execution_gives_its_resources_back():
    class Failing(Doubling):
        def execute(self, batch):  # noqa: ARG002  as Doubling
            raise ValueError("broken")

    server, held = Server(), HeldInstance()
    failing, other = server.load(InlineInstance("m_0", Failing())), server.load(held)
    failing.send("a")
    assert failing.error("a") is not None
    other.send("a")
    assert held.batches == [["a"]]


@scenario
async def test_unloading_waits_for_what_waits_and_gives_the_permits_up():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    first, second = server.load(one, text=needs(2)), server.load(two)
    first.send("a")
    second.send("a")
    drained = asyncio.ensure_future(second.scheduler.drain())
    await asyncio.sleep(0)
    with pytest.raises(SlipwayError, match="stopped accepting new inference requests"):
        second.send("b")
    assert not drained.done()
    one.finish()
    two.finish()
    await drained
    assert second.output("a") == [[2.0, 4.0]]
    await first.scheduler.drain()
    await first.scheduler.drain()
    assert str(server.limits) == ""


@scenario
async def test_a_model_that_brings_more_resources_lets_others_start():
    server, one, two = Server(), HeldInstance(), HeldInstance()
    first, second = server.load(one), server.load(two)
    first.send("a")
    second.send("a")
    assert two.batches == []
    server.load(HeldInstance(), text=needs(5))
    assert two.batches == [["a"]]


@scenario
async def test_instances_that_finish_at_once_take_turns_with_others():
    server, held = Server(), HeldInstance()
    inline, other = server.load(InlineInstance("m_0", Doubling())), server.load(held)
    other.send("a")
    for id_ in "abc":
        inline.send(id_)
        other.send(id_ * 2)
    assert inline.order == []
    for _ in range(4):
        held.finish()
    assert inline.order == ["a", "b", "c"]
    assert other.order == ["a", "aa", "bb", "cc"]
    assert server.used == 0


@scenario
async def test_a_client_that_sends_again_on_each_answer_gets_all_its_answers():
    server = Server()
    clients = [server.load(InlineInstance("m_0", Doubling())) for _ in range(3)]

    def again(client, response):
        number = int(response.id) + 1
        if number < 200:
            client.send(str(number))

    for client in clients:
        client.on_answer = lambda response, client=client: again(client, response)
        client.send("0")
    assert [client.order for client in clients] == [[str(number) for number in range(200)]] * 3
    assert server.used == 0


@scenario
async def test_threads_that_share_a_resource_never_compute_at_once():
    server, loop = Server(), asyncio.get_running_loop()
    computing, most, clients, instances = [], [], [], []

    def compute(batch):
        computing.append(batch)
        most.append(len(computing))
        computing.remove(batch)

    for _ in range(3):
        instance = ThreadInstance("m_0", loop)
        await instance.open(lambda: Doubling(compute))
        instances.append(instance)
        clients.append(server.load(instance))
    for index in range(100):
        for client in clients:
            client.send(str(index))
    for client in clients:
        await client.scheduler.drain()
    for instance in instances:
        await instance.close()
    assert len(most) == 300
    assert set(most) == {1}
    assert all(len(client.order) == 100 for client in clients)


@scenario
async def test_a_refused_model_does_not_disturb_the_others():
    server, held = Server(ResourceCount("R", 2)), HeldInstance()
    client = server.load(held)
    with pytest.raises(SlipwayError, match='Resource count for "R" is limited to 2'):
        server.load(HeldInstance(), text=needs(3))
    client.send("a")
    held.finish()
    assert client.output("a") == [[2.0, 4.0]]


@scenario
async def test_the_counts_can_be_read_in_a_log_line():
    server = Server()
    server.load(HeldInstance())
    server.load(HeldInstance(), text=ONE.replace('"R" count: 1', '"G" count: 3 global: true'))
    assert str(server.limits) == "G (global) x 3, R (device 0) x 1"
