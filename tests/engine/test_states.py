import pytest

from slipway.core.model_id import ModelId
from slipway.engine.states import UNLOADED, State, StateTable

M = ModelId("", "m")


@pytest.fixture
def states():
    return StateTable()


def test_a_version_loads_serves_unloads_and_loads_again(states):
    for state in (State.LOADING, State.READY, State.READY, State.UNLOADING, State.LOADING, State.READY):
        states.set(M, 1, state)
    assert [(version, row.state) for version, row in states.versions(M)] == [(1, State.READY)]


def test_a_version_cannot_skip_a_state(states):
    with pytest.raises(ValueError, match="cannot change from None to"):
        states.set(M, 1, State.READY)
    states.set(M, 1, State.LOADING)
    states.set(M, 1, State.UNAVAILABLE, "Internal: no")
    with pytest.raises(ValueError, match="cannot change"):
        states.set(M, 1, State.UNLOADING)


def test_an_unload_that_ends_after_the_next_load_began_changes_nothing(states):
    states.set(M, 1, State.LOADING)
    states.set(M, 1, State.READY)
    first = states.set(M, 1, State.UNLOADING)
    states.set(M, 1, State.LOADING)
    states.finish_unload(M, 1, first)
    assert states.versions(M)[0][1].state is State.LOADING
    states.set(M, 1, State.READY)
    second = states.set(M, 1, State.UNLOADING)
    states.finish_unload(M, 1, first)
    assert states.versions(M)[0][1].state is State.UNLOADING
    states.finish_unload(M, 1, second)
    assert (states.versions(M)[0][1].state, states.versions(M)[0][1].reason) == (State.UNAVAILABLE, UNLOADED)


def test_an_unload_of_a_forgotten_model_ends_quietly(states):
    states.set(M, 1, State.LOADING)
    row = states.set(M, 1, State.UNLOADING)
    states.forget(M)
    states.finish_unload(M, 1, row)
    assert list(states.models()) == []


@pytest.mark.parametrize(
    ("state", "reason", "ready"),
    [
        (State.READY, "", True),
        (State.UNAVAILABLE, UNLOADED, True),
        (State.UNAVAILABLE, "Internal: no", False),
        (State.LOADING, "", False),
        (State.UNLOADING, "", False),
    ],
)
def test_everything_is_ready_unless_a_version_failed_or_is_on_its_way(states, state, reason, ready):
    states.set(M, 1, State.LOADING)
    if state is not State.LOADING:
        states.set(M, 1, state, reason)
    assert states.all_ready() is ready
