"""Threads run on the CPUs that they are given, and so does what they start."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.affinity import from_ranges, in_ranges, node_cpus, running_on, stay_on
from slipway.errors import Code, SlipwayError

OWN = os.sched_getaffinity(0)
ONE = frozenset({max(OWN)})
NOWHERE = frozenset({8000})
SHOW = "import os; print(sorted(os.sched_getaffinity(0)))"


def in_thread(work):
    """Return what `work` returns or raises in a thread of its own, whose CPUs may change."""
    found = []

    def run():
        try:
            found.append(work())
        except SlipwayError as error:
            found.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return found[0]


def own_cpus():
    return os.sched_getaffinity(0)


def test_a_block_and_all_that_it_starts_run_on_its_cpus():
    with running_on(ONE):
        inside = own_cpus()
        child = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True).stdout
        thread = in_thread(own_cpus)
    assert (inside, thread, child.strip()) == (ONE, ONE, str(sorted(ONE)))
    assert own_cpus() == OWN


def test_no_cpus_are_any():
    with running_on(()):
        assert own_cpus() == OWN
    assert in_thread(lambda: (stay_on(()), own_cpus())[1]) == OWN


def test_a_thread_stays_where_it_is_put():
    assert in_thread(lambda: (stay_on(ONE), own_cpus())[1]) == ONE
    assert own_cpus() == OWN


def test_cpus_that_are_not_there_are_an_error():
    error = in_thread(lambda: stay_on(NOWHERE))
    assert error.code is Code.INTERNAL
    assert error.message == "Unable to set NUMA thread affinity: Invalid argument (CPUs 8000)"
    with pytest.raises(SlipwayError), running_on(NOWHERE):
        pass
    assert own_cpus() == OWN


def test_the_cpus_of_a_node_are_those_that_linux_lists(tmp_path):
    for node, text in (("node0", "0-1,4\n"), ("node3", "2-3,5\n")):
        (tmp_path / node).mkdir()
        (tmp_path / node / "cpulist").write_text(text)
    assert node_cpus(3, tmp_path) == {2, 3, 5}
    with pytest.raises(SlipwayError) as caught:
        node_cpus(1, tmp_path)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == "this machine does not have the NUMA node 1; it has 0, 3"
    with pytest.raises(SlipwayError, match="the NUMA node 0; it has none"):
        node_cpus(0, tmp_path / "nothing")


@given(st.frozensets(st.integers(0, 40)))
def test_a_list_of_ranges_has_all_its_numbers(cpus):
    assert from_ranges(in_ranges(cpus)) == cpus


def test_neighbours_are_one_range():
    assert in_ranges({8, 1, 0, 2, 9, 5}) == "0-2,5,8-9"
