"""Requests of one form, with equal flags, are of one form when the controls are added, unless these vary in size."""

from __future__ import annotations

from pathlib import Path

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.sequences import sequence_plan
from slipway.config.signature import build_signature
from slipway.core.request import SEQUENCE_START, InferRequest, RequestForm
from slipway.core.tensor import Tensor
from slipway.scheduling import sequence_inputs
from slipway.scheduling.sequence_inputs import SequenceInputs
from slipway.scheduling.sequences import SequenceRun

CONFIG = """name: "m" backend: "python" max_batch_size: 4
input { name: "IN" data_type: TYPE_INT32 dims: [ 1 ] }
output { name: "OUT" data_type: TYPE_INT32 dims: [ 1 ] }
sequence_batching {
  control_input { name: "START" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }
  %s
}
"""
ID = 'control_input { name: "ID" control { kind: CONTROL_SEQUENCE_CORRID data_type: %s } }'
STATE = 'state { input_name: "S" output_name: "T" data_type: TYPE_INT32 dims: [ 1 ] }'


def inputs_of(part: str) -> SequenceInputs:
    config = text_format.Parse(CONFIG % part, model_config_pb2.ModelConfig())
    return SequenceInputs(sequence_plan(config, Path("absent")), build_signature(config, Path("absent")))


def composed(inputs: SequenceInputs, form: RequestForm, flags: int, sequence: int | str = 7) -> InferRequest:
    given = InferRequest("m", inputs={"IN": Tensor("IN", "INT32", (1, 1), raw=bytes(4))}, flags=flags, form=form)
    given.correlation_id = sequence
    return inputs.composed(given, SequenceRun(sequence))


@pytest.mark.parametrize("part", ["", ID % "TYPE_UINT64"], ids=["start", "number"])
def test_requests_that_differ_in_their_ids_are_of_one_form(part):
    one, other, form = inputs_of(part), inputs_of(part), RequestForm()
    first = composed(one, form, 0)
    assert first.form is composed(one, form, 0, 8).form is not form
    assert composed(one, form, SEQUENCE_START).form not in (first.form, None)
    assert composed(other, form, 0).form not in (first.form, None)
    assert composed(one, RequestForm(), 0).form not in (first.form, None)


@pytest.mark.parametrize("part", [ID % "TYPE_STRING", STATE], ids=["string", "state"])
def test_what_varies_in_size_has_no_form(part):
    assert composed(inputs_of(part), RequestForm(), SEQUENCE_START, "s").form is None


def test_servers_in_one_process_compose_requests_of_one_form_at_the_same_time(monkeypatch):
    one, other, form = inputs_of(""), inputs_of(""), RequestForm()
    meanwhile = []

    def interrupted():
        monkeypatch.setattr(sequence_inputs, "RequestForm", RequestForm)
        meanwhile.append(composed(other, form, 0).form)
        return RequestForm()

    monkeypatch.setattr(sequence_inputs, "RequestForm", interrupted)
    first = composed(one, form, 0).form
    assert first not in meanwhile
    assert composed(other, form, 0).form is not first
