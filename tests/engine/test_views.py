"""What clients see of models."""

from __future__ import annotations

import json

from slipway.core.model_id import ModelId
from slipway.engine.states import State, StateTable
from slipway.engine.views import index

M = ModelId("", "m")


def test_a_reason_that_repeats_an_odd_file_name_can_be_sent():
    states = StateTable()
    states.set(M, 1, State.LOADING)
    states.set(M, 1, State.UNAVAILABLE, "the object 'm/é/\udcff' cannot be copied")
    (entry,) = index(states, [M], (), ready_only=False)
    assert entry.reason == "the object 'm/é/?' cannot be copied"
    assert json.dumps(entry.reason, ensure_ascii=False).encode()
