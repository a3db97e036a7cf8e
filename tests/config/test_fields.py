"""Every field of config.pbtxt is accounted for, and the server does what the table says about it."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest
from google.protobuf.descriptor import FieldDescriptor
from tritonclient.grpc import model_config_pb2

import slipway
from slipway.config.fields import FIELDS, all_fields, field_row
from slipway.config.support import Support
from slipway.config.unoffered import without_effect
from slipway.config.validate import validate
from slipway.config.walk import known_fields, set_fields

SOURCE = Path(slipway.__file__).parent
DESCRIPTOR = model_config_pb2.ModelConfig.DESCRIPTOR
NAMES = list(known_fields(DESCRIPTOR))
NOWHERE = Path("/nowhere")
# Fields that are what remains when none of their siblings is given, with such a sibling.
READ_OTHERWISE = {"model_warmup.inputs.zero_data": "random_data"}


def base(backend="python"):
    config = model_config_pb2.ModelConfig(name="m", backend=backend)
    for tensors in (config.input, config.output):
        tensors.add(name="x", data_type=model_config_pb2.TYPE_FP32, dims=[1])
    return config


def holding(name, backend="python"):
    """Return a config that sets the field `name`, and what leads to it."""
    config = base(backend)
    message, descriptor = config, DESCRIPTOR
    *steps, last = name.split(".")
    for step in steps:
        field = descriptor.fields_by_name[step]
        message, descriptor = part(message, field)
    fill(message, descriptor.fields_by_name[last])
    return config


def part(message, field):
    """Return a message in `field`, added if there is none, and its type."""
    value = getattr(message, field.name)
    descriptor = field.message_type
    if descriptor.GetOptions().map_entry:
        return value[key_of(descriptor)], descriptor.fields_by_name["value"].message_type
    if field.is_repeated:
        return (value[0] if len(value) else value.add()), descriptor
    value.SetInParent()
    return value, descriptor


def fill(message, field):
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        entry = field.message_type.fields_by_name["value"]
        if entry.message_type is None:
            getattr(message, field.name)[key_of(field.message_type)] = sample(entry)
        else:
            part(message, field)
    elif field.message_type is not None:
        part(message, field)
    elif field.is_repeated:
        getattr(message, field.name).append(sample(field))
    else:
        setattr(message, field.name, sample(field))


def key_of(entry):
    return "x" if entry.fields_by_name["key"].type == FieldDescriptor.TYPE_STRING else 1


def sample(field):
    texts = (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_BYTES)
    return "x" if field.type in texts else field.type == FieldDescriptor.TYPE_BOOL or 1


@cache
def words_of_the_source():
    """Return every attribute and string in Slipway's code, except in the table itself."""
    words = set()
    for path in SOURCE.rglob("*.py"):
        if path != SOURCE / "config" / "fields.py":
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Attribute):
                    words.add(node.attr)
                elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                    words.add(node.value)
    return words


def test_the_table_names_every_field_and_no_other():
    assert set(FIELDS) <= set(NAMES)
    covered = [name for name in NAMES if name not in FIELDS]
    assert [name for name in covered if field_row(name).support is Support.WORKS] == []
    assert [name for name in covered if not any(name.startswith(f"{parent}.") for parent in FIELDS)] == []
    assert [name for name in covered if "does not know" in field_row(name).note] == []


def test_every_row_that_does_not_work_says_why():
    assert [name for name, row in all_fields() if row.support is not Support.WORKS and not row.note] == []


def test_a_field_that_a_later_protobuf_adds_is_reported():
    assert field_row("input.colour").support is Support.WITHOUT_EFFECT


@pytest.mark.parametrize("name", NAMES)
def test_a_field_is_set_where_its_name_says(name):
    assert name in [each for each, _ in set_fields(holding(name))]


@pytest.mark.parametrize("name", [name for name, row in all_fields() if row.support is Support.WORKS])
def test_what_works_is_read_somewhere_and_neither_refused_nor_reported(name):
    row = field_row(name)
    config = holding(name, row.backends[0] if row.backends else "python")
    above = {each for each, _ in set_fields(config)}
    if all(field_row(each).backends in ((), row.backends) for each in above):
        assert [problem for problem in without_effect(config) if problem.text.startswith(f"{name} ")] == []
    assert {name.rpartition(".")[2], READ_OTHERWISE.get(name)} & words_of_the_source()


@pytest.mark.parametrize("name", [name for name, row in all_fields() if row.backends])
def test_what_works_with_some_backends_is_reported_with_others(name):
    assert any(name.startswith(problem.text.split(" ")[0]) for problem in without_effect(holding(name, "python")))
    for backend in field_row(name).backends:
        assert not any(problem.text.startswith(f"{name} ") for problem in without_effect(holding(name, backend)))


@pytest.mark.parametrize("name", [name for name, row in all_fields() if row.support is Support.WITHOUT_EFFECT])
def test_what_has_no_effect_is_reported_and_not_refused(name):
    config = holding(name)
    reports = [problem for problem in without_effect(config) if name.startswith(problem.text.split(" ")[0])]
    assert len(reports) == (0 if field_row(name).quiet else 1)


@pytest.mark.parametrize("name", [name for name, row in all_fields() if row.support is Support.REFUSED])
def test_what_is_refused_is_refused_by_the_validation(name):
    without = {problem.text for problem in validate(base(), NOWHERE)}
    assert {problem.text for problem in validate(holding(name), NOWHERE)} - without
