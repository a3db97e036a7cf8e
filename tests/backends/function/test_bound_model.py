"""Binding: what a function, an object or a class has to be, and the configuration that it gets."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

from slipway.backends.function.bound_model import ModelSettings, bind
from slipway.backends.function.messages import BatchContext
from slipway.backends.function.tensor_type import TensorType
from slipway.errors import Code, SlipwayError

X = [TensorType(np.float32, -1, name="x")]
Y = [TensorType(np.float32, -1, name="y")]


def bound(target, *, name="", version=1, inputs=X, outputs=Y, **settings):
    return bind(target, name=name, version=version, inputs=inputs, outputs=outputs, settings=ModelSettings(**settings))


def double(x):
    return 2 * x


class Scaled:
    def __call__(self, x):
        return x


class Silent:
    def run(self, x):
        return x


def stream(x):
    yield x


async def async_stream(x):
    yield x


def test_the_configuration_is_what_the_arguments_say():
    config = bound(
        double, max_batch_size=8, max_queue_delay_us=500, preferred_batch_sizes=[4, 8], instances=2,
        config="response_cache { enable: true }",
    ).config  # fmt: skip
    assert (config.name, config.backend, config.max_batch_size) == ("double", "function", 8)
    assert [(each.name, list(each.dims)) for each in config.input] == [("x", [-1])]
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert list(config.dynamic_batching.preferred_batch_size) == [4, 8]
    assert config.instance_group[0].count == 2
    assert config.response_cache.enable
    assert not config.model_transaction_policy.decoupled


def test_without_batching_there_is_no_dynamic_batcher():
    assert not bound(double, max_batch_size=8, batching=False).config.HasField("dynamic_batching")
    assert not bound(double).config.HasField("dynamic_batching")


def test_the_model_is_called_like_its_function():
    assert bound(double).name == "double"
    assert bound(partial(double)).name == "double"
    assert bound(Scaled).name == "Scaled"
    assert bound(Scaled()).name == "Scaled"
    assert bound(double, name="other").name == "other"


def test_only_a_class_has_an_object_for_each_instance():
    assert [bound(each).is_class for each in (double, Scaled, Scaled())] == [False, True, False]


def test_a_generator_function_is_decoupled_unless_the_argument_says_otherwise():
    assert [bound(each).stream for each in (double, stream, async_stream)] == [False, True, True]
    assert bound(double, stream=True).config.model_transaction_policy.decoupled


def test_the_context_is_found_by_annotation_or_name_unless_an_input_has_that_name():
    def annotated(x, batch: BatchContext):
        return x

    def called(x, context):
        return x

    assert [bound(each).context for each in (annotated, called, double)] == ["batch", "context", ""]
    context = [TensorType(np.float32, -1, name="context"), *X]
    assert bound(called, inputs=context).context == ""


def test_a_function_may_take_any_input():
    def anything(**inputs):
        return inputs["x"]

    assert [tensor.name for tensor in bound(anything).inputs] == ["x"]


@pytest.mark.parametrize(
    ("target", "arguments", "text"),
    [
        (lambda x: x, {}, "a lambda has no name for the model: set name="),
        (Silent, {}, "model 'Silent': the class has no method __call__"),
        (7, {"name": "seven"}, "model 'seven': 7 is neither a function nor a class"),
        (lambda text: text, {"name": "m"}, "model 'm': the function has no parameter 'x' for this input"),
        (lambda x, y: x + y, {"name": "m"}, "parameter 'y' is not an input; expected one of x"),
        (lambda x, /: x, {"name": "m"}, "parameter 'x' is positional-only"),
        (double, {"version": 0}, "version 0 is not a positive whole number"),
        (double, {"version": True}, "version True is not a positive whole number"),
        (double, {"name": "a/b"}, "invalid model name"),
        (double, {"outputs": []}, "it has no outputs"),
        (double, {"max_batch_size": -1}, "max_batch_size is -1, expected a whole number from 0"),
        (double, {"instances": 0}, "instances is 0, expected a whole number from 1"),
        (double, {"instances": True}, "instances is True"),
        (double, {"max_queue_delay_us": 5}, "need max_batch_size and batching"),
        (double, {"max_batch_size": 4, "preferred_batch_sizes": [8]}, "preferred"),
        (double, {"config": "max_batch_size: 4"}, "config sets max_batch_size, which is an argument"),
        (double, {"config": "max_batch: 4"}, 'no field named "max_batch"'),
        (double, {"inputs": [TensorType(int, name="x", optional=True)]}, "the parameter has no default"),
        (double, {"outputs": [TensorType(int, name="y", optional=True)]}, "output 'y' cannot be optional"),
    ],
)
def test_what_cannot_be_served_is_refused_when_it_is_bound(target, arguments, text):
    with pytest.raises(SlipwayError) as caught:
        bound(target, **arguments)
    assert caught.value.code is Code.INVALID_ARG
    assert text in caught.value.message


def test_the_nearest_parameter_is_suggested():
    with pytest.raises(SlipwayError, match="no parameter 'input_id' for this input; did you mean 'input_ids'"):
        bound(lambda input_ids: input_ids, name="m", inputs=[TensorType(int, name="input_id")])
