"""A generate request takes part in a sequence through its parameters."""

from __future__ import annotations

import pytest

from slipway.core.request import SEQUENCE_END, SEQUENCE_START, InferRequest
from slipway.errors import SlipwayError
from slipway.scheduling.sequence_parameters import with_sequence_fields


def test_parameters_become_fields_and_others_stay():
    request = InferRequest("m", parameters={"sequence_id": 5, "sequence_start": True, "sequence_end": False, "x": 1})
    moved = with_sequence_fields(request)
    assert (moved.correlation_id, moved.flags, moved.parameters) == (5, SEQUENCE_START, {"x": 1})
    both = {"sequence_id": "s", "sequence_start": True, "sequence_end": True}
    assert with_sequence_fields(InferRequest("m", parameters=both)).flags == SEQUENCE_START | SEQUENCE_END


def test_a_request_without_an_id_stays_as_it_is():
    request = InferRequest("m", parameters={"sequence_start": True}, correlation_id=4)
    assert with_sequence_fields(request) is request


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sequence_id": True}, "parameter 'sequence_id' is True, expected a string or a number"),
        ({"sequence_id": 1.5}, "parameter 'sequence_id' is 1.5, expected a string or a number"),
        ({"sequence_id": -1}, "parameter 'sequence_id' is -1, expected a string or a number"),
        ({"sequence_id": "x" * 129}, "string correlation ID cannot be longer than 128 characters"),
        ({"sequence_id": 1, "sequence_end": "yes"}, "parameter 'sequence_end' is 'yes', expected true or false"),
    ],
)
def test_other_types_are_refused(parameters, message):
    with pytest.raises(SlipwayError, match=message):
        with_sequence_fields(InferRequest("m", parameters=parameters))
