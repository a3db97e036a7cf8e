import pytest

from slipway.engine.states import UNLOADED, State, StateTable


@pytest.fixture
def states():
    return StateTable()


def test_a_version_loads_serves_unloads_and_loads_again(states):
    for state in (State.LOADING, State.READY, State.READY, State.UNLOADING, State.LOADING, State.READY):
        states.set("m", 1, state)
    assert [(version, row.state) for version, row in states.versions("m")] == [(1, State.READY)]


def test_a_version_cannot_skip_a_state(states):
    with pytest.raises(ValueError, match="cannot change from None to"):
        states.set("m", 1, State.READY)
    states.set("m", 1, State.LOADING)
    states.set("m", 1, State.UNAVAILABLE, "Internal: no")
    with pytest.raises(ValueError, match="cannot change"):
        states.set("m", 1, State.UNLOADING)


def test_an_unload_that_ends_after_the_next_load_began_changes_nothing(states):
    states.set("m", 1, State.LOADING)
    states.set("m", 1, State.READY)
    first = states.set("m", 1, State.UNLOADING)
    states.set("m", 1, State.LOADING)
    states.finish_unload("m", 1, first)
    assert states.versions("m")[0][1].state is State.LOADING
    states.set("m", 1, State.READY)
    second = states.set("m", 1, State.UNLOADING)
    states.finish_unload("m", 1, first)
    assert states.versions("m")[0][1].state is State.UNLOADING
    states.finish_unload("m", 1, second)
    assert (states.versions("m")[0][1].state, states.versions("m")[0][1].reason) == (State.UNAVAILABLE, UNLOADED)


def test_an_unload_of_a_forgotten_model_ends_quietly(states):
    states.set("m", 1, State.LOADING)
    row = states.set("m", 1, State.UNLOADING)
    states.forget("m")
    states.finish_unload("m", 1, row)
    assert list(states.names()) == []


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
    states.set("m", 1, State.LOADING)
    if state is not State.LOADING:
        states.set("m", 1, state, reason)
    assert states.all_ready() is ready
