import pytest

from slipway.config.prepared import prepared_problems
from slipway.convert.candidates.build import Built
from slipway.convert.candidates.config import model_config
from slipway.convert.candidates.subject import Interface
from slipway.convert.plan import Plan
from slipway.core.signature import TensorSpec


def prepared(*, backend="openvino", step=8, longest=512, pads=True, plan=None):
    interface = Interface(
        (TensorSpec("ids", "INT64", (-1,)),),
        (TensorSpec("y", "FP32", (4,)),),
        8,
        pad_values={"ids": 0} if pads else {},
        longest=longest,
    )
    config = model_config("m", interface, Built(backend, length_step=step), plan or Plan(1, 128))
    assert prepared_problems(config) == []
    return config.parameters["PREPARED_TOKENS"].string_value if "PREPARED_TOKENS" in config.parameters else None


@pytest.mark.parametrize(("longest", "tokens"), [(512, "128"), (32, "32")])
def test_rounded_lengths_are_prepared_up_to_the_longest(longest, tokens):
    assert prepared(longest=longest) == tokens


@pytest.mark.parametrize("how", [{"step": 1}, {"plan": Plan(1, 0)}])
def test_fewer_are_prepared_if_every_length_is_a_shape(how):
    assert prepared(**how) == "64"


@pytest.mark.parametrize(
    "how", [{"backend": "onnxruntime"}, {"pads": False}, {"longest": 0}, {"plan": Plan(2, 0)}], ids=str
)
def test_nothing_is_prepared_for_other_libraries_unknown_lengths_and_several_instances(how):
    assert prepared(**how) is None
