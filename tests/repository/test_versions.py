import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.repository.versions import choose_versions


def policy(text):
    return text_format.Parse(text, model_config_pb2.ModelVersionPolicy())


@pytest.mark.parametrize(
    ("text", "available", "served", "missing"),
    [
        ("", [1, 3, 2], (3,), ()),
        ("latest { num_versions: 2 }", [10, 9, 1], (9, 10), ()),
        ("latest { num_versions: 5 }", [1, 2], (1, 2), ()),
        ("latest { num_versions: 0 }", [1, 2], (), ()),
        ("latest { }", [1, 2], (), ()),
        ("all { }", [3, 1], (1, 3), ()),
        ("specific { versions: [3, 1, 9, 3] }", [1, 2, 3], (1, 3), (9,)),
        ("all { }", [], (), ()),
        ("", [], (), ()),
    ],
)
def test_a_policy_picks_versions(text, available, served, missing):
    choice = choose_versions(policy(text), available)
    assert (choice.served, choice.missing) == (served, missing)
