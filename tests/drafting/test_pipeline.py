"""Ensembles from models: equal names are connected, the rest are inputs or outputs."""

from __future__ import annotations

import pytest

from slipway.config.parse import parse_config
from slipway.drafting.commented import config_text
from slipway.drafting.pipeline import draft_pipeline
from slipway.errors import SlipwayError
from slipway.lint.check import check_repository
from slipway.lint.reading import read_model
from slipway.machine import Machine
from tests.kits.lint_cases import IDS, SCORES, TEXT, model

MACHINE = Machine(cpus=4, gpus=0)


def declared(kind, *tensors):
    return f"{kind} [ {', '.join(tensors)} ]\n"


def ids(*names):
    return [f"{{ {IDS.format(name)} }}" for name in names]


def write(repository, name, inputs, outputs, size=8):
    text = f'backend: "python"\nmax_batch_size: {size}\n{declared("input", *inputs)}{declared("output", *outputs)}'
    (model(repository, text, name=name) / "1" / "model.py").write_text("")
    return read_model(repository / name, name, MACHINE).model.config


def written(repository, name, *models):
    """Write the ensemble of `models` and return what its text reads back as."""
    text = config_text(draft_pipeline(models, name), MACHINE)
    model(repository, text, name=name)
    return parse_config(text, "config.pbtxt")


def test_a_tokenizer_and_a_model_are_connected_by_their_names(tmp_path):
    tokenizer = write(tmp_path, "tok", [TEXT], ids("input_ids", "attention_mask", "token_type_ids"), size=16)
    encoder = write(tmp_path, "enc", ids("input_ids", "attention_mask"), [SCORES])
    config = written(tmp_path, "finbert", tokenizer, encoder)
    first, second = config.ensemble_scheduling.step
    assert (
        dict(first.output_map)
        == dict(second.input_map)
        == {"input_ids": "input_ids", "attention_mask": "attention_mask"}
    )
    assert ([each.name for each in config.input], [each.name for each in config.output]) == (["text"], ["scores"])
    assert config.max_batch_size == 8
    assert check_repository(tmp_path, MACHINE).findings == ()


def test_a_tensor_that_a_model_changes_gets_another_name(tmp_path):
    models = [write(tmp_path, name, ids("x"), ids("x")) for name in ("a", "b", "c")]
    config = written(tmp_path, "e", *models)
    assert [list(step.output_map.values()) for step in config.ensemble_scheduling.step] == [["a.x"], ["b.x"], ["c.x"]]
    assert [each.name for each in config.output] == ["c.x"]
    assert check_repository(tmp_path, MACHINE).findings == ()


@pytest.mark.parametrize(
    ("names", "ensemble", "cause"),
    [
        (["tok"], "e", "at least two models"),
        (["tok", "enc"], "enc", "one of its models has that name"),
        (["tok", "other"], "e", "no earlier model produces an input of 'other' \\(y\\); available: input_ids, text"),
        (["tok", "enc32"], "e", "inconsistent data type"),
    ],
)
def test_what_cannot_be_connected_is_refused(tmp_path, names, ensemble, cause):
    models = {
        "tok": write(tmp_path, "tok", [TEXT], ids("input_ids")),
        "enc": write(tmp_path, "enc", ids("input_ids"), [SCORES]),
        "other": write(tmp_path, "other", ids("y"), [SCORES]),
        "enc32": write(tmp_path, "enc32", [ids("input_ids")[0].replace("INT64", "INT32")], [SCORES]),
    }
    with pytest.raises(SlipwayError, match=cause):
        draft_pipeline([models[name] for name in names], ensemble)
