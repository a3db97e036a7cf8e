"""Texts of small configurations, and the problems that are found in one."""

from __future__ import annotations

from slipway.config.normalise import normalise
from slipway.config.parse import parse_config
from slipway.config.validate import validate

X = '{ name: "x" data_type: TYPE_FP32 dims: [ 4 ] }'
Y = '{ name: "y" data_type: TYPE_FP32 dims: [ 4 ] }'
IO = f"input [{X}] output [{Y}] "
START = 'control_input [{ name: "S" control [{ kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] }] }]'
END = START.replace("_START", "_END")
OTHER_START = START.replace('"S"', '"T"')


def problems(directory, text):
    config = parse_config(f'name: "m" {text}', "config.pbtxt")
    if not (config.platform or config.backend):
        config.backend = "python"
    normalise(config)
    return [str(problem) for problem in validate(config, directory)]


def io(tensor, output=Y, extra=""):
    return f"input [{tensor}] output [{output}] {extra}"


def x(fields, extra=""):
    return io(f'{{ name: "x" data_type: TYPE_FP32 {fields} }}', extra=extra)


def dynamic(fields, size=8):
    return f"{IO} max_batch_size: {size} dynamic_batching {{ {fields} }}"


def control(fields):
    return f'{IO} sequence_batching {{ control_input [{{ name: "S" control [{{ {fields} }}] }}] }}'


def group(fields):
    return f"{IO} instance_group [{{ {fields} }}]"


def oldest(fields, size=8):
    return f"{IO} max_batch_size: {size} sequence_batching {{ {START} oldest {{ {fields} }} }}"


def state(fields):
    return (
        f'{IO} sequence_batching {{ {START} state [{{ input_name: "si" output_name: "so" data_type: TYPE_INT32 '
        f"dims: [ 1 ] {fields} }}] }}"
    )
