"""Requests as values."""

from __future__ import annotations

from dataclasses import fields

import pytest

from slipway.core.explanation import Explanation
from slipway.core.pace import Pace
from slipway.core.request import InferRequest, RequestForm
from slipway.core.tensor import Tensor
from slipway.core.trace import ReferredTrace, TraceReference
from slipway.regions.request import PlacedRequest

FILLED = {
    "model_name": "m",
    "model_version": "2",
    "id": "i",
    "parameters": {"k": 1},
    "priority": 3,
    "timeout_us": 4,
    "correlation_id": 5,
    "flags": 1,
    "trace": ReferredTrace(TraceReference(6)),
    "pace": Pace(),
    "explanation": Explanation(),
}


@pytest.mark.parametrize("request_type", [InferRequest, PlacedRequest])
def test_another_request_with_other_tensors_keeps_every_other_field(request_type):
    more = {"places": {"OUT": object()}} if request_type is PlacedRequest else {}
    given = request_type(**FILLED, **more, form=RequestForm())
    inputs, outputs = {"A": Tensor("A", "BOOL", (1,), raw=b"\0")}, ("B",)
    changed = given.with_tensors(inputs, outputs)
    assert type(changed) is request_type
    expected = {**FILLED, **more, "inputs": inputs, "outputs": outputs, "form": None}  # which is that of the old ones
    assert {field.name: getattr(changed, field.name) for field in fields(changed)} == expected
    assert given.inputs == {}
