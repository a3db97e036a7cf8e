"""Responses are sent no faster than their receiver takes them, and a thread that must not wait does not."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from slipway.backends.shared.paced import send_paced
from slipway.core.pace import Pace, never_waiting, never_waits
from slipway.core.pending import Pending
from slipway.core.request import InferRequest, InferResponse


class Loop:
    """Runs what is handed over when the test says so."""

    def __init__(self) -> None:
        self._work: deque[Callable[[], object]] = deque()

    def call_soon_threadsafe(self, callback: Callable[..., object], *arguments: object) -> None:
        self._work.append(lambda: callback(*arguments))

    def run(self) -> None:
        while self._work:
            self._work.popleft()()


def paced(pace: Pace) -> tuple[Pending, Loop, list[str]]:
    loop, heard = Loop(), []
    request = InferRequest("m")
    request.pace = pace
    return Pending(request, 1, 0, loop, lambda response: heard.append(response.id)), loop, heard


def send(pending: Pending, *names: str) -> None:
    with never_waiting():
        for name in names:
            send_paced(pending, InferResponse(id=name, final=name == "end"))


def test_a_thread_is_marked_only_within_the_block() -> None:
    with never_waiting():
        with never_waiting():
            pass
        assert never_waits()
    assert not never_waits()


def test_without_waiting_responses_come_in_order_each_when_there_is_room() -> None:
    pace = Pace()
    pending, loop, heard = paced(pace)
    pace.hold()
    send(pending, "a", "b", "end")
    loop.run()
    assert heard == []
    pending.observe = lambda *_: pace.hold()  # each response fills the room
    for expected in (["a"], ["a", "b"], ["a", "b", "end"]):
        pace.release()
        loop.run()
        assert heard == expected
    assert not pace.backlog


def test_a_response_that_comes_later_does_not_overtake_those_that_lie() -> None:
    pace = Pace()
    pending, loop, heard = paced(pace)
    pace.hold()
    send(pending, "a")
    loop.run()
    send_paced(pending, InferResponse(id="end"))  # from a thread that may wait
    pace.release()
    loop.run()
    assert heard == ["a", "end"]
