from slipway.engine.dependencies import components, dependents, load_waves

COMPOSITION = {"top": {"middle", "a"}, "middle": {"b", "c"}, "other": {"c"}}


def test_dependents_are_found_through_other_ensembles():
    assert dependents(COMPOSITION, ["c"]) == {"middle", "other", "top"}
    assert dependents(COMPOSITION, ["a"]) == {"top"}
    assert dependents(COMPOSITION, ["top"]) == set()


def test_components_are_found_through_other_ensembles():
    assert components(COMPOSITION, ["top"]) == {"middle", "a", "b", "c"}
    assert components(COMPOSITION, ["a"]) == set()


def test_composing_models_load_before_ensembles_and_only_requested_ones_load():
    waves, circle = load_waves(COMPOSITION, ["top", "middle", "b", "c"])
    assert (waves, circle) == ([["b", "c"], ["middle"], ["top"]], set())


def test_a_cycle_is_named_and_the_rest_loads():
    waves, circle = load_waves(
        {"x": {"y"}, "y": {"x", "a"}, "self": {"self"}, "fine": {"a"}}, ["x", "y", "a", "self", "fine"]
    )
    assert circle == {"x", "y", "self"}
    assert [name for wave in waves for name in wave if name == "fine"] == ["fine"]


def test_a_cycle_among_known_ensembles_ends_the_search():
    assert dependents({"x": {"y"}, "y": {"x"}}, ["x"]) == {"x", "y"}
    assert components({"x": {"y"}, "y": {"x"}}, ["x"]) == {"x", "y"}
