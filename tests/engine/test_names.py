"""Which model a name means, and that every table of names says so after any change."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slipway.core.model_id import ModelId
from slipway.engine.names import NamespacedNames, PlainNames
from slipway.engine.serving import ServingTable
from slipway.engine.states import State, StateTable
from slipway.errors import Code
from slipway.scheduling.api import STOPPED
from tests.kits.engine import refused

A, B, C = (ModelId(namespace, "m") for namespace in ("a", "b", "c"))


def names(*models):
    wanted = NamespacedNames()
    for model in models:
        wanted.want(model)
    return wanted


def version(model, number=1):
    """Return what the table needs of a version."""
    return SimpleNamespace(id=model, version=number)


def table(*models, wanted=()):
    serving = ServingTable(StateTable(), names(*wanted))
    for model in models:
        serving.replace(model, [version(model)])
    return serving


def test_an_id_is_written_as_in_triton_and_sorted_by_namespace():
    assert [str(ModelId("", "m")), str(A)] == ["m", "a::m"]
    assert sorted([ModelId("b", "a"), ModelId("a", "b"), ModelId("", "c")]) == [
        ModelId("", "c"),
        ModelId("a", "b"),
        ModelId("b", "a"),
    ]


def test_without_namespaces_a_name_always_means_its_one_model():
    plain = PlainNames()
    plain.want(ModelId("", "m"))
    plain.unwant(ModelId("", "m"))
    for name in ("m", "absent"):
        assert list(plain.meant(name)) == [plain.inside("", name)] == [ModelId("", name)]
        assert plain.refusal(name) is None


@pytest.mark.parametrize(
    ("wanted", "inside_a", "inside_c"),
    [((), None, None), ((A,), A, A), ((B,), B, B), ((A, B), A, None), ((A, B, C), A, C)],
)
def test_a_name_means_the_neighbour_first_and_else_the_only_one(wanted, inside_a, inside_c):
    assert (names(*wanted).inside("a", "m"), names(*wanted).inside("c", "m")) == (inside_a, inside_c)


def test_a_name_of_several_models_is_refused_in_the_words_of_triton():
    wanted = names(A, B)
    error = wanted.refusal("m")
    assert (error.code, error.message) == (
        Code.INVALID_ARG,
        "There are 2 identifiers of model 'm' in global map, model namespace must be provided to resolve ambiguity.",
    )
    wanted.unwant(A)
    assert wanted.refusal("m") is None
    assert list(wanted.meant("m")) == [B]


def test_a_name_that_nothing_has_is_refused_in_the_words_of_triton():
    wanted = names(A)
    wanted.unwant(A)
    wanted.unwant(B)
    assert (wanted.refusal("m").code, wanted.refusal("m").message) == (
        Code.NOT_FOUND,
        "Identifier of model 'm' is not found in global map",
    )
    assert (wanted.refusal("n").code, wanted.refusal("n").message) == (
        Code.INVALID_ARG,
        "Request for unknown model: 'n' is not found",
    )


# The tables


def test_clients_reach_a_model_by_its_name_while_it_is_the_only_wanted_one():
    serving = table(A)
    assert serving.find("m", "").id is serving.find("m", "1").id is A
    serving.want(B)  # it need not serve
    with refused(Code.INVALID_ARG, serving.names.refusal("m").message):
        serving.find("m", "")
    serving.unwant(B)
    assert serving.find("m", "").id is A


def test_a_version_that_does_not_serve_is_reported_by_the_bare_name():
    states = StateTable()
    states.set(A, 2, State.LOADING)
    serving = ServingTable(states, names(A))
    with refused(Code.UNAVAILABLE, "Request for unknown model: 'm' version 2 is not at ready state"):
        serving.find("m", "2")
    with refused(Code.NOT_FOUND, "Request for unknown model: 'm' version 3 is not found"):
        serving.find("m", "3", serving.scope("elsewhere"))


def test_each_namespace_calls_its_own_model():
    serving = table(A, B)
    for model in (A, B):
        assert serving.find("m", "", serving.scope(model.namespace)).id is model
    with refused(Code.INVALID_ARG, serving.names.refusal("m").message):
        serving.find("m", "", serving.scope("c"))


def test_a_neighbour_that_retires_is_called_until_it_is_dropped():
    """Requests that an ensemble had accepted finish with the model they began with."""
    serving = table(A, B)
    inside = serving.scope("a")
    serving.unwant(A)
    hidden = serving.hide(A)
    assert serving.find("m", "").id is B
    assert serving.find("m", "", inside).id is A
    assert not serving.serves(hidden["1"])
    serving.drop(A, hidden)
    assert serving.find("m", "", inside).id is B


def test_a_model_elsewhere_that_retires_is_called_too_unless_another_one_takes_its_name():
    serving = table(A)
    inside = serving.scope("c")
    serving.unwant(A)
    hidden = serving.hide(A)
    assert serving.find("m", "", inside).id is A
    serving.replace(B, [version(B)])
    assert serving.find("m", "", inside).id is B
    serving.drop(A, hidden)
    assert serving.find("m", "", inside).id is B


def test_a_closed_server_serves_only_its_own_models():
    serving = table(A)
    serving.close()
    serving.want(A)
    with refused(Code.UNAVAILABLE, STOPPED):
        serving.find("m", "")
    assert serving.find("m", "", serving.scope("a")).id is A


@given(
    steps=st.lists(
        st.tuples(st.sampled_from(["want", "unwant", "replace", "hide", "drop"]), st.sampled_from([A, B, C])),
        max_size=30,
    )
)
def test_tables_say_after_any_changes_what_the_names_mean(steps):
    serving = table()
    early = [serving.scope(namespace) for namespace in "abc"]
    hidden = {}
    for action, model in steps:
        if action == "replace":
            serving.replace(model, [version(model)])
        elif action == "hide":
            if model in serving.serving():
                hidden[model] = serving.hide(model)
        elif action == "drop":
            if model in hidden:
                serving.drop(model, hidden.pop(model))
        else:
            getattr(serving, action)(model)
        meant = serving.names.meant("m")
        only = meant[0] if len(meant) == 1 and meant[0] in serving.serving() else None
        found = serving.public.get("m")
        assert (found and found["1"].id) == only
        for scope in early:
            assert scope.models.get("m") is serving.seen_in(scope.namespace, "m")
            own = ModelId(scope.namespace, "m")
            if own in serving.serving():
                assert scope.models["m"]["1"].id == own
    early_views = {scope.namespace: dict(scope.models) for scope in early}
    del early
    assert {namespace: serving.scope(namespace).models for namespace in "abc"} == early_views  # made anew
