import hashlib

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.errors import Code, SlipwayError
from slipway.repository.checksums import check_checksums

CONTENT = b"x" * (3 << 20) + b"end"
DIGEST = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()


def config(*parameters, agent="checksum"):
    lines = "".join(f'parameters {{ key: "{key}" value: "{value}" }}' for key, value in parameters)
    text = f'name: "m" model_repository_agents {{ agents [ {{ name: "{agent}" {lines} }} ] }}'
    return text_format.Parse(text, model_config_pb2.ModelConfig())


@pytest.fixture
def model(tmp_path):
    (tmp_path / "1").mkdir()
    (tmp_path / "1" / "model.bin").write_bytes(CONTENT)
    return tmp_path


def test_files_with_the_right_checksums_pass(model):
    check_checksums(config(("MD5:1/model.bin", DIGEST)), model)
    check_checksums(config(("md5:1/model.bin", DIGEST)), model)
    check_checksums(config(), model)
    check_checksums(model_config_pb2.ModelConfig(), model)


@pytest.mark.parametrize(
    ("parameters", "reason"),
    [
        (
            [("MD5:1/model.bin", "0" * 32)],
            f"Mismatched MD5 hash for file 1/model.bin, expect: {'0' * 32}, got: {DIGEST}",
        ),
        ([("MD5:absent", DIGEST)], "failed to open text file for read absent: No such file or directory"),
        ([("MD5:1", DIGEST)], "failed to open text file for read 1: Is a directory"),
        ([("1/model.bin", DIGEST)], "failed to parse key: 1/model.bin"),
        ([("SHA1:1/model.bin", DIGEST)], "Unsupported checksum algorithm: SHA1"),
        ([("MD5:../secret", DIGEST)], "checksum file '../secret' must stay within the model directory for m"),
        ([("MD5:/etc/passwd", DIGEST)], "checksum file '/etc/passwd' must stay within the model directory for m"),
        (
            [("MD5:1/model.bin", DIGEST), ("MD5:2", DIGEST)],
            "failed to open text file for read 2: No such file or directory",
        ),
    ],
)
def test_anything_else_is_refused_in_tritons_words(model, parameters, reason):
    with pytest.raises(SlipwayError) as caught:
        check_checksums(config(*parameters), model)
    assert (caught.value.code, caught.value.message) == (Code.INVALID_ARG, reason)


def test_other_agents_are_refused_by_name(model):
    with pytest.raises(SlipwayError, match="unable to find repo agent 'relocation' for m: only 'checksum'"):
        check_checksums(config(agent="relocation"), model)
