"""Calls to the server: deadlines, retries, cancellation, metadata."""

from __future__ import annotations

import asyncio
from contextlib import aclosing

import grpc
import pytest

from slipway.proxy.catalog import Catalog
from slipway.proxy.failures import UpstreamFailure
from tests.proxy.fake_server import FakeServer, faked

PARENT = (("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),)


async def echo(request: bytes, context) -> bytes:
    return request


async def for_ever(request: bytes, context) -> bytes:
    await asyncio.sleep(3600)
    return request


def unavailable_first(times: int):
    left = [times]

    async def answer(request: bytes, context) -> bytes:
        if left[0]:
            left[0] -= 1
            await context.abort(grpc.StatusCode.UNAVAILABLE, "busy")
        return request

    return answer


def run(test) -> None:
    asyncio.run(test)


def test_messages_and_metadata_pass_unchanged():
    async def test() -> None:
        server = FakeServer({"ModelInfer": echo})
        async with faked(server, key="secret") as upstream:
            assert await upstream.call("ModelInfer", b"abc", (*upstream.metadata, *PARENT)) == b"abc"
        (name, metadata) = server.calls[0]
        assert name == "ModelInfer"
        assert metadata["authorization"] == "Bearer secret"
        assert metadata["traceparent"] == PARENT[0][1]

    run(test())


def test_a_key_that_was_replaced_is_read_again(tmp_path, caplog):
    file = tmp_path / "keys"

    async def test() -> None:
        again, accepted = asyncio.Event(), asyncio.Event()

        async def index(request: bytes, context) -> bytes:
            if dict(context.invocation_metadata())["authorization"] != "Bearer new":
                if len(server.calls) > 1:  # the first refusal has been logged
                    again.set()
                await context.abort(grpc.StatusCode.UNAUTHENTICATED, "the API key is not valid")
            accepted.set()
            return b""

        file.write_text("# none\n")
        server = FakeServer({"RepositoryIndex": index})
        async with faked(server, key="old", key_file=str(file)) as upstream:
            following = asyncio.create_task(Catalog(upstream, 0.01).follow())
            await asyncio.wait_for(again.wait(), 20)
            file.write_text("new\nold\n")
            await asyncio.wait_for(accepted.wait(), 20)
            following.cancel()
            assert upstream.metadata == (("authorization", "Bearer new"),)

    run(test())
    reason = f"the API key is not valid; '{file}' does not contain a key; expected one per line"
    assert caplog.messages[0].endswith(reason)


@pytest.mark.parametrize(("times", "retries"), [(0, 0), (1, 1), (2, 2)])
def test_a_call_that_the_server_was_not_available_for_is_made_again(times, retries):
    async def test() -> None:
        server = FakeServer({"ModelInfer": unavailable_first(times)})
        async with faked(server, retries=retries) as upstream:
            assert await upstream.call("ModelInfer", b"abc", ()) == b"abc"
        assert len(server.calls) == times + 1

    run(test())


@pytest.mark.parametrize(("retries", "repeatable", "calls"), [(1, True, 2), (2, False, 1), (0, True, 1)])
def test_retries_end(retries, repeatable, calls):
    async def test() -> None:
        server = FakeServer({"ModelInfer": unavailable_first(9)})
        async with faked(server, retries=retries) as upstream:
            with pytest.raises(UpstreamFailure) as caught:
                await upstream.call("ModelInfer", b"abc", (), repeatable=repeatable)
        assert caught.value.text == "[StatusCode.UNAVAILABLE] busy"
        assert len(server.calls) == calls

    run(test())


def test_other_failures_are_final():
    async def refuse(request: bytes, context) -> bytes:
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "wrong")
        return b""

    async def test() -> None:
        server = FakeServer({"ModelInfer": refuse})
        async with faked(server) as upstream:
            with pytest.raises(UpstreamFailure) as caught:
                await upstream.call("ModelInfer", b"", ())
        assert (caught.value.status, len(server.calls)) == (400, 1)

    run(test())


def test_a_slow_server_meets_the_deadline():
    async def test() -> None:
        server = FakeServer({"ModelInfer": for_ever})
        async with faked(server, timeout_secs=0.2) as upstream:
            with pytest.raises(UpstreamFailure) as caught:
                await upstream.call("ModelInfer", b"", ())
        assert (caught.value.code, caught.value.status) == ("DEADLINE_EXCEEDED", 504)

    run(test())


def test_no_server_is_unavailable():
    async def test() -> None:
        server = FakeServer({"ModelInfer": echo})
        async with faked(server, retries=0) as upstream:
            await server.stop()
            with pytest.raises(UpstreamFailure) as caught:
                await upstream.call("ModelInfer", b"", ())
        assert (caught.value.code, caught.value.status) == ("UNAVAILABLE", 503)

    run(test())


def test_a_cancelled_task_cancels_the_call():
    async def test() -> None:
        server = FakeServer({"ModelInfer": for_ever})
        async with faked(server) as upstream:
            task = asyncio.create_task(upstream.call("ModelInfer", b"", ()))
            await asyncio.wait_for(server.infers.wait(), 10)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await asyncio.wait_for(server.cancelled.wait(), 10)

    run(test())


def test_a_stream_ends_with_the_status_of_its_error():
    async def answers(request: bytes, context):
        yield b"1"
        await context.abort(grpc.StatusCode.NOT_FOUND, "gone")

    async def test() -> None:
        server = FakeServer(stream=answers)
        async with faked(server) as upstream:
            messages = upstream.stream(b"", ())
            assert await anext(messages) == b"1"
            with pytest.raises(UpstreamFailure) as caught:
                await anext(messages)
        assert caught.value.code == "NOT_FOUND"
        assert server.calls[0][1]["triton_grpc_error"] == "true"

    run(test())


def test_a_stream_is_cancelled_when_nobody_reads_it_any_more():
    async def answers(request: bytes, context):
        yield b"1"
        await asyncio.sleep(3600)

    async def test() -> None:
        server = FakeServer(stream=answers)
        async with faked(server) as upstream:
            async with aclosing(upstream.stream(b"", ())) as messages:
                assert await anext(messages) == b"1"
            await asyncio.wait_for(server.cancelled.wait(), 10)

    run(test())


def test_a_stream_that_stalls_meets_the_deadline():
    async def answers(request: bytes, context):
        yield b"1"
        await asyncio.sleep(3600)

    async def test() -> None:
        async with faked(FakeServer(stream=answers), timeout_secs=0.2) as upstream:
            messages = upstream.stream(b"", ())
            assert await anext(messages) == b"1"
            with pytest.raises(UpstreamFailure) as caught:
                await anext(messages)
        assert caught.value.code == "DEADLINE_EXCEEDED"

    run(test())
