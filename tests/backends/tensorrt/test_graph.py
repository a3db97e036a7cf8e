"""What is read from an engine: the library's calls and enumerations, by their names, with given answers."""

from dataclasses import dataclass
from enum import Enum

import pytest

from slipway.backends.shared.graph import GraphTensor
from slipway.backends.tensorrt.graph import describe
from slipway.backends.tensorrt.profiles import Range
from slipway.errors import Code, SlipwayError

Mode = Enum("Mode", "INPUT OUTPUT")
Location = Enum("Location", "DEVICE HOST")
DataType = Enum("DataType", "FLOAT INT32 INT64 FP8")


@dataclass
class TensorRow:
    mode: Mode
    dtype: DataType
    shape: tuple[int, ...]
    location: Location = Location.DEVICE


class Engine:
    """The part of tensorrt.ICudaEngine (version 10) that describes its tensors."""

    num_optimization_profiles = 2

    def __init__(self, **rows):
        self.rows = rows
        self.num_io_tensors = len(rows)

    def get_tensor_name(self, index):
        return list(self.rows)[index]

    def get_tensor_mode(self, name):
        return self.rows[name].mode

    def get_tensor_location(self, name):
        return self.rows[name].location

    def get_tensor_dtype(self, name):
        return self.rows[name].dtype

    def get_tensor_shape(self, name):
        return self.rows[name].shape

    def get_tensor_profile_shape(self, name, profile):
        assert name == "ids"
        return [(1, 8), (8, 128), (16, 512)] if profile == 0 else [(1, 1), (1, 1), (1, 1)]


def test_tensors_and_profiles_are_read_by_name():
    plan = describe(
        Engine(
            ids=TensorRow(Mode.INPUT, DataType.INT32, (-1, -1)),
            sizes=TensorRow(Mode.INPUT, DataType.INT64, (2,), Location.HOST),
            logits=TensorRow(Mode.OUTPUT, DataType.FLOAT, (-1, 3)),
        )
    )
    assert plan.graph.inputs["ids"] == GraphTensor("ids", "TYPE_INT32", (-1, -1))
    assert plan.graph.inputs["sizes"] == GraphTensor("sizes", "TYPE_INT64", (2,))
    assert plan.graph.outputs == {"logits": GraphTensor("logits", "TYPE_FP32", (-1, 3))}
    assert plan.profiles == (
        {"ids": Range((1, 8), (8, 128), (16, 512))},
        {"ids": Range((1, 1), (1, 1), (1, 1))},
    )
    assert plan.host == {"sizes"}


def test_an_element_type_that_no_request_can_carry_is_refused():
    with pytest.raises(SlipwayError, match="unsupported TensorRT element type 'FP8' for I/O 'ids'") as caught:
        describe(Engine(ids=TensorRow(Mode.INPUT, DataType.FP8, (-1, -1))))
    assert caught.value.code is Code.UNSUPPORTED
