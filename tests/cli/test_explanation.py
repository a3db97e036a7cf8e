"""How an explanation is printed: a table that a person reads, or a line of JSON; whatever a server sends."""

from __future__ import annotations

import io
import json

import pytest

from slipway.cli.explanation import write_explanation
from slipway.errors import SlipwayError

FULL = {
    "model": "minilm",
    "version": "3",
    "rows": 1,
    "total_us": 26_235,
    "queue_us": 20_842,
    "compute_us": {"input": 5, "infer": 5201, "output": 11},
    "batch": {"requests": 3, "rows": 4},
    "instance": {"name": "minilm_0_1", "threads": 2, "kind": "CPU", "cpus": "0-1"},
    "padding": {"tokens": 12, "share": 0.0825},
    "engine": {"backend": "openvino", "precision": "int8"},
    "cache": "miss",
    "held_by": [
        {"wait": "batch", "us": 20_700, "setting": "dynamic_batching.max_queue_delay_microseconds", "value": 20_000},
        {"wait": "hand_over", "us": 69},
    ],
}
TABLE = """explained: model 'minilm' version 3, 1 row, 26.2 ms
  queue     20.8 ms
            waited 20.7 ms for more requests in the batch (dynamic_batching.max_queue_delay_microseconds = 20000)
            waited 0.069 ms for its instance to begin
  compute   5.22 ms (input 0.005 ms, infer 5.2 ms, output 0.011 ms)
  batch     3 requests, 4 rows
  padding   12 tokens, 8.2 % of the batch
  instance  minilm_0_1 (CPU, 2 threads, on CPUs 0-1)
  engine    openvino int8
  cache     miss
"""


def written(text: str, *, as_json: bool = False) -> str:
    stream = io.StringIO()
    write_explanation(stream, text, as_json=as_json)
    return stream.getvalue()


def test_the_table_has_a_line_per_fact():
    assert written(json.dumps(FULL)) == TABLE


def test_the_steps_of_an_ensemble_are_below_it():
    step = {"model": "tokens", "executing_us": 1_500_000, "executions": 2, "instance": {"name": "t", "threads": 1}}
    report = {"model": "both", "steps": [{**step, "instance": {"name": "t", "threads": 1, "kind": "GPU", "device": 1}}]}
    assert written(json.dumps({**report, "more_steps": 1})).splitlines() == [
        "explained: model 'both'",
        "  step 1: model 'tokens'",
        "    executing 1.50 s so far",
        "    executed  2 times",
        "    instance  t (GPU 1, 1 thread)",
        "  and 1 more step",
    ]


def test_as_json_it_is_one_line_with_all_that_the_server_sent():
    assert json.loads(written(json.dumps({**FULL, "new": 1}), as_json=True)) == {"slipway_explain": {**FULL, "new": 1}}


def test_a_server_that_does_not_explain_is_named():
    assert written("") == "the server did not explain the request: only Slipway knows the parameter slipway_explain\n"
    assert written("", as_json=True) == '{"slipway_explain":null}\n'


def test_control_characters_do_not_reach_the_terminal():
    assert written(json.dumps({"model": "a\x1b[31m\x9b", "cache": "\x07"})).count("\\x") == 3


@pytest.mark.parametrize("text", ["{", "[]", "7", "{}", '{"model": 1}', '{"model": "m", "steps": [1]}', "[" * 300])
def test_what_is_not_an_explanation_is_one_error(text):
    with pytest.raises(SlipwayError, match="the server sent an explanation that is not Slipway's"):
        written(text)
