"""How ensembles fit their models: the answers of NVIDIA's tritonserver 2.51 for the same configurations."""

from __future__ import annotations

import itertools

import pytest

from slipway.config.normalise import normalise
from slipway.config.parse import parse_config
from slipway.config.validate import validate
from slipway.config.validate_ensemble import validate_ensemble


def tensor(name, datatype="FP32", dims="4", extra=""):
    return f'{{ name: "{name}" data_type: TYPE_{datatype} dims: [ {dims} ] {extra} }}'


def model(inputs, outputs, extra=""):
    return f'backend: "python" input [{inputs}] output [{outputs}] {extra}'


def step(name, inputs, outputs):
    maps = [("input_map", inputs), ("output_map", outputs)]
    entries = [f'{field} {{ key: "{key}" value: "{name}" }}' for field, pairs in maps for key, name in pairs.items()]
    return f'{{ model_name: "{name}" model_version: -1 {" ".join(entries)} }}'


def ensemble(inputs, outputs, *steps, extra=""):
    return (
        f'platform: "ensemble" input [{inputs}] output [{outputs}] '
        f"ensemble_scheduling {{ step [{', '.join(steps)}] }} {extra}"
    )


def read(name, text):
    config = parse_config(f'name: "{name}" {text}', "config.pbtxt")
    normalise(config)
    return config


X, Y, Z = tensor("x"), tensor("y"), tensor("z")
A = step("a", {"x": "x"}, {"y": "y"})
MODELS = {
    "a": model(X, Y),
    "i": model(tensor("x", "INT32"), tensor("y", "INT32")),
    "b8": model(X, Y, "max_batch_size: 8"),
    "b4": model(X, Y, "max_batch_size: 4"),
    "one": model(X, Y, "max_batch_size: 1"),
    "v": model(tensor("x", dims="-1"), tensor("y", dims="-1")),
    "two": model(f"{X}, {Z}", f"{Y}, {tensor('w')}"),
    "opt": model(f"{X}, {tensor('z', extra='optional: true')}", Y),
    "d2": model(tensor("x", dims="2, 2"), tensor("y", dims="2, 2")),
    "a14": model(tensor("x", dims="1, 4"), tensor("y", dims="1, 4")),
    "resh": model(tensor("x", extra="reshape { shape: [ 2, 2 ] }"), Y),
    "inner": ensemble(X, Y, A),
}
CONFIGS = {name: read(name, text) for name, text in MODELS.items()}


def problems(text, configs=CONFIGS):
    return [str(problem) for problem in validate_ensemble(read("e", text), configs)]


SERVED = {
    "chain": ensemble(X, Y, step("a", {"x": "x"}, {"y": "m"}), step("a", {"x": "m"}, {"y": "y"})),
    "steps in any order": ensemble(X, Y, step("a", {"x": "m"}, {"y": "y"}), step("a", {"x": "x"}, {"y": "m"})),
    "an output not mapped": ensemble(X, Y, step("two", {"x": "x", "z": "x"}, {"y": "y"})),
    "an optional input not mapped": ensemble(X, Y, step("opt", {"x": "x"}, {"y": "y"})),
    "an input passed on": ensemble(X, f"{X}, {Y}", A),
    "nested": ensemble(X, Y, step("inner", {"x": "x"}, {"y": "y"})),
    "variable in the model": ensemble(X, Y, step("v", {"x": "x"}, {"y": "y"})),
    "variable in the ensemble": ensemble(tensor("x", dims="-1"), tensor("y", dims="-1"), A),
    "same batch": ensemble(X, Y, step("b8", {"x": "x"}, {"y": "y"}), extra="max_batch_size: 8"),
    "smaller batch": ensemble(X, Y, step("b8", {"x": "x"}, {"y": "y"}), extra="max_batch_size: 2"),
    "no batch": ensemble(X, Y, step("b8", {"x": "x"}, {"y": "y"})),
    "batch as a dimension": ensemble(
        tensor("x", dims="-1, 4"), tensor("y", dims="1, 4"), step("b8", {"x": "x"}, {"y": "y"})
    ),
    "batches for a model without": ensemble(X, Y, A, extra="max_batch_size: 8"),
    "batches for a model of one": ensemble(X, Y, step("a14", {"x": "x"}, {"y": "y"}), extra="max_batch_size: 8"),
    "cached": ensemble(X, Y, A, extra="response_cache { enable: true }"),
}
PRE = "in ensemble e, ensemble tensor"
MORE = "ensemble e allows maximum batch size 8, but it contains model {} which only allows maximum batch size to be {}"
ONCE = "can appear in an output map only once for ensemble 'e' step"
TRITON = [
    (ensemble(X, Y), ["must specify 'step' for ensemble 'e'"]),
    (ensemble(X, Y, step("", {"x": "x"}, {"y": "y"})), ["must specify 'model_name' in step 0 of ensemble 'e'"]),
    (
        ensemble(X, Y, step("a", {}, {"y": "y"})),
        [
            "must specify 'input_map' in step 0 of ensemble 'e'",
            "in ensemble e, input x in model a is not mapped to any ensemble tensors",
        ],
    ),
    (ensemble(X, Y, step("a", {"x": "x"}, {})), ["must specify 'output_map' in step 0 of ensemble 'e'"]),
    (
        ensemble(X, Y, A, extra="instance_group [{ kind: KIND_CPU }]"),
        ["instance group should not be specified for ensemble 'e'"],
    ),
    (ensemble(X, Y, A, extra="optimization {}"), ["optimization should not be specified for ensemble 'e'"]),
    (ensemble(X, Y, A, extra='model_warmup [{ name: "w" }]'), ["model_warmup can not be specified for ensemble 'e'"]),
    (
        ensemble(X, Y, A, extra='backend: "python"'),
        ["Ensemble model 'e' must have platform type 'ensemble' and empty backend type"],
    ),
    (
        ensemble(X, Y, A).replace('platform: "ensemble"', 'backend: "python"'),
        ["ensemble scheduling cannot be set for model 'e' whose platform is not ensemble"],
    ),
    (ensemble(X, Y, A, A), [f"ensemble tensor 'y' {ONCE} 1"]),
    (ensemble(X, Y, step("two", {"x": "x", "z": "x"}, {"y": "y", "w": "y"})), [f"ensemble tensor 'y' {ONCE} 0"]),
    (
        ensemble(X, Y, step("two", {"x": "x", "z": "x"}, {"y": "y", "w": "dead"})),
        ["ensemble tensor 'dead' is unused in ensemble 'e'"],
    ),
    (ensemble(f"{X}, {Z}", Y, A), ["ensemble input 'z' for ensemble e' is not used"]),
    (ensemble(X, f"{Y}, {Z}", A), ["ensemble output 'z' for ensemble e' is not used"]),
    (
        ensemble(X, Y, step("two", {"x": "x", "z": "q"}, {"y": "y"})),
        ["output 'y' for ensemble 'e' is not written: at least one of its depending tensors, 'q', is not connected"],
    ),
    (
        ensemble(X, Y, step("two", {"x": "x", "z": "q"}, {"y": "y", "w": "p"}), step("a", {"x": "p"}, {"y": "q"})),
        ["output 'y' for ensemble 'e' is not written: at least one of its depending tensors, 'p', is not connected"],
    ),
    (
        ensemble(X, Y, step("nope", {"x": "x"}, {"y": "y"})),
        ["ensemble e contains models that are not available or ambiguous: nope"],
    ),
    (
        ensemble(X, Y, step("a", {"x": "x", "nope": "x"}, {"y": "y"})),
        [f"{PRE} x is mapping to non-existing input nope in model a"],
    ),
    (
        ensemble(X, Y, step("a", {"x": "x"}, {"nope": "y"})),
        [f"{PRE} y is mapped from non-existing output nope in model a"],
    ),
    (
        ensemble(X, Y, step("two", {"x": "x"}, {"y": "y"})),
        ["in ensemble e, input z in model two is not mapped to any ensemble tensors"],
    ),
    (
        ensemble(X, tensor("y", "INT32"), step("a", {"x": "x"}, {"y": "m"}), step("i", {"x": "m"}, {"y": "y"})),
        [
            (
                f"{PRE} m: inconsistent data type: TYPE_FP32 is inferred from model a "
                "while TYPE_INT32 is inferred from model i"
            )
        ],
    ),
    (
        ensemble(X, tensor("y", "INT32"), A),
        [
            (
                f"{PRE} y: inconsistent data type: TYPE_INT32 is inferred from model e "
                "while TYPE_FP32 is inferred from model a"
            )
        ],
    ),
    (
        ensemble('{ name: "x" dims: [ 4 ] }', Y, A),
        [
            (
                f"{PRE} x: inconsistent data type: TYPE_INVALID is inferred from model e "
                "while TYPE_FP32 is inferred from model a"
            )
        ],
    ),
    (
        ensemble(tensor("x", dims="5"), Y, A),
        [f"{PRE} x: inconsistent shape: [5] is inferred from model e while [4] is inferred from model a"],
    ),
    (
        ensemble(X, tensor("y", dims="2, 2"), step("a", {"x": "x"}, {"y": "m"}), step("d2", {"x": "m"}, {"y": "y"})),
        [f"{PRE} m: inconsistent shape: [4] is inferred from model a while [2,2] is inferred from model d2"],
    ),
    (
        ensemble(tensor("x", dims="2, 2"), Y, step("resh", {"x": "x"}, {"y": "y"})),
        [f"{PRE} x: inconsistent shape: [2,2] is inferred from model e while [4] is inferred from model resh"],
    ),
    (
        ensemble(X, Y, step("b4", {"x": "x"}, {"y": "y"}), extra="max_batch_size: 8"),
        [MORE.format("b4", 4)],
    ),
    (
        ensemble(X, Y, step("one", {"x": "x"}, {"y": "y"}), extra="max_batch_size: 8"),
        [MORE.format("one", 1)],
    ),
]


@pytest.mark.parametrize("text", SERVED.values(), ids=SERVED)
def test_what_triton_serves_has_no_problem(tmp_path, text):
    assert problems(text) == []
    assert validate(read("e", text), tmp_path) == []


@pytest.mark.parametrize(("text", "expected"), TRITON, ids=[f"{i}-{row[1][0][:40]}" for i, row in enumerate(TRITON)])
def test_what_triton_refuses_is_refused_in_its_words(text, expected):
    assert problems(text) == expected


def test_what_the_ensemble_alone_shows_is_found_without_its_models(tmp_path):
    config = read("e", ensemble(X, f"{Y}, {Z}", A))
    assert [str(problem) for problem in validate(config, tmp_path)] == [
        "ensemble output 'z' for ensemble e' is not used"
    ]


def test_an_input_may_not_be_written_by_a_step():
    assert problems(ensemble(X, Y, step("two", {"x": "x", "z": "x"}, {"y": "y", "w": "x"}))) == [
        "ensemble tensor 'x' is an input and can not appear in an output map for ensemble 'e' step 0"
    ]


def test_all_problems_are_reported_at_once():
    text = ensemble(f"{tensor('x', 'INT32')}, {Z}", Y, step("b4", {"x": "x"}, {"y": "y"}), extra="max_batch_size: 8")
    assert problems(text) == [
        "ensemble input 'z' for ensemble e' is not used",
        MORE.format("b4", 4),
        (
            f"{PRE} x: inconsistent data type: TYPE_INT32 is inferred from model e "
            "while TYPE_FP32 is inferred from model b4"
        ),
    ]


def test_an_ensemble_that_calls_itself_is_refused():
    assert problems(ensemble(X, Y, step("e", {"x": "x"}, {"y": "y"}))) == [
        "circular dependency between ensembles: e -> ... -> e -> e"
    ]


def test_a_circle_through_other_ensembles_is_refused():
    other = read("other", ensemble(X, Y, step("third", {"x": "x"}, {"y": "y"})))
    third = read("third", ensemble(X, Y, step("e", {"x": "x"}, {"y": "y"})))
    text = ensemble(X, Y, step("other", {"x": "x"}, {"y": "y"}))
    assert problems(text, {"other": other, "third": third}) == [
        "circular dependency between ensembles: e -> ... -> third -> e"
    ]


def test_a_circle_of_others_does_not_hold_up_the_check():
    other = read("other", ensemble(X, Y, step("third", {"x": "x"}, {"y": "y"})))
    third = read("third", ensemble(X, Y, step("other", {"x": "x"}, {"y": "y"})))
    assert problems(ensemble(X, Y, step("other", {"x": "x"}, {"y": "y"})), {"other": other, "third": third}) == []


def test_ten_thousand_steps_are_walked_without_recursion():
    names = ["x", *(f"t{index}" for index in range(9_999)), "y"]
    steps = [step("a", {"x": first}, {"y": second}) for first, second in itertools.pairwise(names)]
    assert problems(ensemble(X, Y, *reversed(steps))) == []
    broken = [*steps[1:], step("a", {"x": "y"}, {"y": "t0"})]
    assert "is not connected" in problems(ensemble(X, Y, *broken))[-1]
