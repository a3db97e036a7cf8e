"""What a load logs about a config that is legal but slow."""

from __future__ import annotations

import logging

import pytest

from tests.kits.engine import serving
from tests.kits.lint_cases import BATCHES, ONNX, labels, model, onnx_model


async def lines(caplog, *repositories):
    with caplog.at_level(logging.INFO, "slipway.lint"):
        async with serving(*repositories) as engine:
            assert not engine.failed
    return [(each.levelname, each.getMessage()) for each in caplog.records if each.name == "slipway.lint"]


def run(coroutine):
    import asyncio

    return asyncio.run(coroutine)


def test_a_load_names_warnings_and_hints_once_for_all_versions(tmp_path, caplog):
    directory = onnx_model(tmp_path, ONNX.replace("dynamic_batching { }\n", "version_policy { all { } }\n"))
    (directory / "2").mkdir()
    (directory / "2" / "model.onnx").write_bytes((directory / "1" / "model.onnx").read_bytes())
    [(level, text)] = run(lines(caplog, tmp_path))
    assert level == "INFO"
    assert text.startswith(
        "model 'm': the model supports batches of 8, but requests run one at a time; add dynamic_batching"
    )


def test_a_load_warns_about_labels_that_do_not_fit(tmp_path, caplog):
    labels(tmp_path, "one\ntwo\n")
    [(level, text)] = run(lines(caplog, tmp_path))
    assert level == "WARNING"
    assert "has 2 lines, but output 'OUTPUT0' has 4 elements" in text


@pytest.mark.parametrize("config", [ONNX])
def test_a_good_config_is_loaded_in_silence(tmp_path, caplog, config):
    onnx_model(tmp_path, config)
    model(tmp_path, BATCHES, name="other")
    assert run(lines(caplog, tmp_path)) == []
