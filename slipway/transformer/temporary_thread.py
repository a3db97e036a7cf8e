"""Run one job on a thread that ends with it, so that its team of OpenMP threads ends too.

libgomp keeps a team for every thread that has computed in parallel, as long as that thread lives. Once all teams
together have more threads than there are cores, every thread is put to sleep between two products
(`torch_engine/compute_thread.py`). torch and CTranslate2 share one libgomp if torch was imported first: T5-base on
CTranslate2 in int8 made 137 tokens/s without, and 75 with a team left over from loading. Work that is done only once,
such as loading, therefore runs here.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Result = TypeVar("Result")


def run_in_temporary_thread(job: Callable[[], Result]) -> Result:
    """Run `job` on its own thread, and return or raise its result. A process does not exit before it is done."""
    # An error refers to its frames. No frame may refer back to the object that holds the error: such a cycle would keep
    # both alive until the garbage collector runs.
    outcome: Future[Result] = Future()

    def run(outcome: Future[Result]) -> None:
        try:
            outcome.set_result(job())
        except BaseException as error:  # noqa: BLE001  raised again by the caller
            outcome.set_exception(error)
        finally:
            del outcome

    # Not a daemon: killing a thread inside a library's code aborts the process.
    thread = Thread(target=run, args=(outcome,), name="run_in_temporary_thread")
    thread.start()
    try:
        result = outcome.result()  # not `join`: when interrupted in it, Python 3.11 considers the thread ended
    finally:
        del outcome
    thread.join()  # its team ends with it
    return result
