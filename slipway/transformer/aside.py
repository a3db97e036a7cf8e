"""Work on a thread that ends with it, and with it the team of OpenMP threads that it had.

libgomp keeps a team for every thread that has computed in parallel, as long as that thread lives; once all teams
together have more threads than there are cores, every one of them is put to sleep between two products
(`torch_engine/lane.py`). torch and CTranslate2 share one libgomp where torch was imported first: T5-base on CTranslate2
in int8, 137 tokens/s without and 75 with a team that loading had left behind. So what is computed once leaves none.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def aside(job: Callable[[], Result]) -> Result:
    """Return or raise what `job` does, on a thread of its own."""
    outcome: Future[Result] = Future()

    def run() -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            outcome.set_exception(error)

    thread = Thread(target=run, name="aside", daemon=True)
    thread.start()
    thread.join()
    return outcome.result()
