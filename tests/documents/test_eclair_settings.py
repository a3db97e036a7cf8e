"""The four ECLAIR_ variables are honoured, and every other one is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from slipway.documents.eclair_settings import EclairSettings
from slipway.errors import Code, SlipwayError

GUIDE = {
    "ECLAIR_CHECKPOINT_DIR": "./third_party/eclair_triton/checkpoints",
    "ECLAIR_CHECKPOINT_NAME": "sweep_0_cooperative-swine_2024.04.20_22.35",
    "ECLAIR_MODEL_DIR": "./third_party/eclair_triton/models",
    "ECLAIR_BATCH_SIZE": "16",
}


def test_the_variables_of_the_guide_are_read():
    settings = EclairSettings.of({**GUIDE, "HOME": "/root"})
    assert settings.model_dir == Path("third_party/eclair_triton/models")
    assert settings.checkpoint == Path("third_party/eclair_triton/checkpoints", GUIDE["ECLAIR_CHECKPOINT_NAME"])
    assert settings.batch_size == 16
    assert settings.ignored == ()


@pytest.mark.parametrize(("text", "size"), [(None, 16), ("", 16), ("1", 1), ("1024", 1024)])
def test_the_batch_size_is_16_unless_given(text, size):
    environment = {name: value for name, value in GUIDE.items() if name != "ECLAIR_BATCH_SIZE"}
    if text is not None:
        environment["ECLAIR_BATCH_SIZE"] = text
    assert EclairSettings.of(environment).batch_size == size


@pytest.mark.parametrize("text", ["0", "-1", "1025", "sixteen", "1.5", " 16", "٣", "9" * 5000])
def test_a_batch_size_that_is_not_one_is_refused(text):
    with pytest.raises(SlipwayError, match=r"ECLAIR_BATCH_SIZE is '.*', expected a whole number from 1 to 1024"):
        EclairSettings.of({**GUIDE, "ECLAIR_BATCH_SIZE": text})


@pytest.mark.parametrize("name", ["../other", "a/b", "..", ".", "/etc"])
def test_a_checkpoint_name_cannot_lead_elsewhere(name):
    with pytest.raises(SlipwayError, match=r"ECLAIR_CHECKPOINT_NAME is '.*', expected a name without directories"):
        EclairSettings.of({**GUIDE, "ECLAIR_CHECKPOINT_NAME": name})


def test_all_problems_are_reported_together():
    with pytest.raises(SlipwayError) as caught:
        EclairSettings.of({"ECLAIR_BATCHSIZE": "8", "ECLAIR_XQZ": "1", "ECLAIR_MODEL_DIR": ""})
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == (
        "settings of ECLAIR: ECLAIR_BATCHSIZE is unknown: did you mean ECLAIR_BATCH_SIZE?; "
        "ECLAIR_XQZ is unknown: known ones are ECLAIR_CHECKPOINT_DIR, ECLAIR_CHECKPOINT_NAME, ECLAIR_MODEL_DIR, "
        "ECLAIR_BATCH_SIZE; ECLAIR_CHECKPOINT_DIR is not set; ECLAIR_CHECKPOINT_NAME is not set; "
        "ECLAIR_MODEL_DIR is not set"
    )


def test_the_variables_of_clients_are_named_as_ignored():
    clients = {"ECLAIR_TRITON_HOST": "triton-eclair", "ECLAIR_TRITON_PORT": "8001", "ECLAIR_GRPC_TRITON": ""}
    assert EclairSettings.of({**GUIDE, **clients}).ignored == ("ECLAIR_TRITON_HOST", "ECLAIR_TRITON_PORT")
