"""Work on a thread that ends with it, and with it the team of OpenMP threads that it had.

libgomp keeps a team for every thread that has computed in parallel, as long as that thread lives; once all teams
together have more threads than there are cores, every one of them is put to sleep between two products
(`torch_engine/compute_thread.py`). torch and CTranslate2 share one libgomp where torch was imported first: T5-base on
CTranslate2 in int8, 137 tokens/s without and 75 with a team that loading had left behind. So what is computed once
leaves none.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def run_in_temporary_thread(job: Callable[[], Result]) -> Result:
    """Return or raise what `job` does, on a thread of its own. A process that ends waits for it."""
    # An error leads to its frames: none of them may lead back to where it is kept, or both wait for the collector.
    outcome: Future[Result] = Future()

    def run(outcome: Future[Result]) -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:  # noqa: BLE001  handed to whoever waits
            outcome.set_exception(error)
        finally:
            del outcome

    # No daemon: a thread that is ended within a library's work aborts the process.
    thread = Thread(target=run, args=(outcome,), name="run_in_temporary_thread")
    thread.start()
    try:
        result = outcome.result()  # not `join`: interrupted in it, Python 3.11 takes the thread for ended
    finally:
        del outcome
    thread.join()  # with its team
    return result
