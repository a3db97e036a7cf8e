from hypothesis import given
from hypothesis import strategies as st

from slipway.scheduling.ensemble_graph import EnsembleGraph, EnsembleRun, EnsembleStep, mixed_origins


def step(index, inputs, outputs):
    return EnsembleStep(index, f"model{index}", "", inputs, outputs)


CHAIN = EnsembleGraph([step(0, {"in": "x"}, {"out": "m"}), step(1, {"in": "m"}, {"out": "y"})], ["y"])
DIAMOND = EnsembleGraph(
    [
        step(0, {"in": "x"}, {"out": "a"}),
        step(1, {"in": "a"}, {"out": "b"}),
        step(2, {"in": "a"}, {"out": "c"}),
        step(3, {"left": "b", "right": "c"}, {"out": "y"}),
    ],
    ["y"],
)


def calls(run):
    taken = []
    while run.calls:
        taken.append(run.take())
    return taken


def test_a_step_runs_when_its_inputs_are_there():
    run = EnsembleRun(CHAIN, {"x": 1})
    (first,) = calls(run)
    assert (first.step.model_name, first.inputs, first.outputs) == ("model0", {"in": 1}, ("out",))
    run.answer(first, {"out": 2}, final=True)
    (second,) = calls(run)
    assert second.inputs == {"in": 2}
    run.answer(second, {"out": 3}, final=True)
    assert list(run.answers) == [{"y": 3}]
    assert run.done


def test_branches_run_side_by_side_and_join():
    run = EnsembleRun(DIAMOND, {"x": 1})
    (source,) = calls(run)
    run.answer(source, {"out": 2}, final=True)
    left, right = calls(run)
    run.answer(right, {"out": "r"}, final=True)
    assert calls(run) == []
    run.answer(left, {"out": "l"}, final=True)
    (join,) = calls(run)
    assert join.inputs == {"left": "l", "right": "r"}


def test_one_tensor_may_feed_two_inputs_of_a_step():
    graph = EnsembleGraph([step(0, {"a": "x", "b": "x"}, {"out": "y"})], ["y"])
    (call,) = calls(EnsembleRun(graph, {"x": 1}))
    assert call.inputs == {"a": 1, "b": 1}


def test_each_answer_of_a_decoupled_step_runs_what_follows():
    run = EnsembleRun(CHAIN, {"x": 1})
    (first,) = calls(run)
    for value in (10, 20, 30):
        run.answer(first, {"out": value}, final=False)
    run.answer(first, None, final=True)
    following = calls(run)
    assert [call.inputs["in"] for call in following] == [10, 20, 30]
    for call in reversed(following):
        run.answer(call, {"out": call.inputs["in"] + 1}, final=True)
    assert [answer["y"] for answer in run.answers] == [31, 21, 11]
    assert run.done


def test_answers_of_one_decoupled_step_are_joined_with_their_own_kind():
    run = EnsembleRun(DIAMOND, {"x": 1})
    (source,) = calls(run)
    for value in (1, 2):
        run.answer(source, {"out": value}, final=value == 2)
    for call in sorted(calls(run), key=lambda call: (call.step.index, -call.inputs["in"])):
        run.answer(call, {"out": call.inputs["in"]}, final=True)
    assert sorted((join.inputs["left"], join.inputs["right"]) for join in calls(run)) == [(1, 1), (2, 2)]


def test_a_step_that_answers_nothing_ends_the_run_without_an_answer():
    run = EnsembleRun(CHAIN, {"x": 1})
    (first,) = calls(run)
    run.answer(first, None, final=True)
    assert run.done
    assert not run.answers


def test_an_output_that_a_step_leaves_out_is_left_out_of_what_follows():
    run = EnsembleRun(CHAIN, {"x": 1})
    (first,) = calls(run)
    run.answer(first, {}, final=True)
    (second,) = calls(run)
    assert second.inputs == {}
    run.answer(second, {}, final=True)
    assert list(run.answers) == [{}]


def test_an_optional_input_that_was_not_sent_is_left_out():
    graph = EnsembleGraph([step(0, {"a": "x", "b": "optional"}, {"out": "y"})], ["y"])
    (call,) = calls(EnsembleRun(graph, {"x": 1}))
    assert call.inputs == {"a": 1}


def test_only_the_steps_behind_the_requested_outputs_run():
    graph = EnsembleGraph(
        [
            step(0, {"in": "x"}, {"out": "a"}),
            step(1, {"in": "a"}, {"out": "y", "more": "w"}),
            step(2, {"in": "a"}, {"out": "z"}),
        ],
        ["y", "z", "w"],
    )
    pruned = graph.pruned(["y"])
    assert [step.index for step in pruned.steps] == [0, 1]
    assert pruned.wanted[1] == ("out",)


def test_a_run_keeps_no_tensor_that_nobody_will_use():
    run = EnsembleRun(CHAIN, {"x": 1})
    (first,) = calls(run)
    for value in range(100):
        run.answer(first, {"out": value}, final=False)
        (following,) = calls(run)
        run.answer(following, {"out": value}, final=True)
        run.answers.clear()
    assert run._tensors == {}


def test_tensors_of_different_decoupled_origins_may_not_meet():
    decoupled_first = {0}
    with_input = EnsembleGraph(
        [step(0, {"in": "x"}, {"out": "a"}), step(1, {"left": "a", "right": "x"}, {"out": "y"})], ["y"]
    )
    assert mixed_origins(with_input, lambda step: step.index in decoupled_first).index == 1
    assert mixed_origins(with_input, lambda _: False) is None
    assert mixed_origins(DIAMOND, lambda step: step.index == 0) is None
    assert mixed_origins(DIAMOND, lambda step: step.index == 1).index == 3
    outputs = EnsembleGraph([step(0, {"in": "x"}, {"out": "a"}), step(1, {"in": "x"}, {"out": "b"})], ["a", "b"])
    assert mixed_origins(outputs, lambda step: step.index == 0) is not None


@st.composite
def graphs(draw):
    """A random graph whose steps read earlier tensors; no step reads some of the tensors."""
    tensors, steps = ["x"], []
    for index in range(draw(st.integers(1, 6))):
        inputs = draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3))
        outputs = [f"t{index}_{position}" for position in range(draw(st.integers(1, 2)))]
        steps.append(step(index, dict(enumerate(inputs)), dict(enumerate(outputs))))
        tensors += outputs
    return EnsembleGraph(steps, draw(st.lists(st.sampled_from(tensors), min_size=1, max_size=3, unique=True)))


@given(graphs(), st.randoms(use_true_random=False))
def test_a_run_always_ends_whatever_the_steps_answer(graph, random):
    run = EnsembleRun(graph, {"x": 0})
    open_calls, events = [], 0
    while not run.done:
        open_calls += calls(run)
        assert open_calls, "the run waits for nothing"
        call = random.choice(open_calls)
        events += 1
        final = events > 50 or random.random() < 0.7
        if random.random() < 0.2 and events > 5:
            outputs = None if random.random() < 0.5 else {}
        else:
            outputs = dict.fromkeys(call.outputs, events)
        run.answer(call, outputs, final=final)
        if final:
            open_calls.remove(call)
        assert events < 2000
    assert not open_calls


@given(graphs(), st.randoms(use_true_random=False))
def test_when_every_step_answers_once_there_is_exactly_one_answer_and_each_step_ran_once(graph, random):
    run = EnsembleRun(graph, {"x": 0})
    ran, open_calls = [], []
    while not run.done:
        open_calls += calls(run)
        call = open_calls.pop(random.randrange(len(open_calls)))
        ran.append(call.step.index)
        run.answer(call, dict.fromkeys(call.outputs, 1), final=True)
    assert sorted(ran) == [step.index for step in graph.steps]
    assert [set(answer) for answer in run.answers] == [set(graph.outputs)]
