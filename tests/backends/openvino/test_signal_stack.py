"""The CPU plugin leaves no thread with a signal stack that it will unmap."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytest.importorskip("openvino", reason="the extra `convert` is not installed")

# A process of its own: the next signal kills one whose stack is gone.
SCRIPT = """
import faulthandler, gc, signal, sys, threading
from slipway.backends.openvino.library import open_core

if "faulthandler" in sys.argv:
    faulthandler.enable()  # which has a signal stack, as pytest does
signal.signal(signal.SIGTERM, lambda *_: print("handled", flush=True))
first, second = [open_core()], [open_core()]
for [core] in (first, second):
    core.get_property("CPU", "FULL_DEVICE_NAME")  # as whatever loads a model does
del core
for box in (first, second):  # in the order in which they were loaded, each by another thread
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
gc.collect()
signal.raise_signal(signal.SIGTERM)
"""


@pytest.mark.parametrize("arguments", [[], ["faulthandler"]])
def test_a_signal_after_the_plugin_is_unloaded_is_handled(arguments):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout) == (0, "handled\n"), done.stderr
