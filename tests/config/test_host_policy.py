"""`--host-policy` is read as tritonserver reads it, and a mistake ends the start instead of a load."""

from __future__ import annotations

import pytest
from google.protobuf import text_format
from tritonclient.grpc import model_config_pb2

from slipway.config.host_policy import HostPolicy, not_defined, policy_name, unknown_policies
from slipway.config.options import parse_options
from slipway.errors import SlipwayError

FORMAT = "--host-policy option format is '<policy name>,<setting>=<value>'. Got "
RANGES = "host policy setting 'cpu-cores' format is '<lower_cpu_core_id>-<upper_cpu_core_id>'. Got "


def policies(*values):
    return parse_options(["models", *(f"--host-policy={value}" for value in values)]).host_policy


def group(text=""):
    return text_format.Parse(text, model_config_pb2.ModelInstanceGroup())


def test_there_are_no_policies_by_default():
    assert policies() == {}


def test_settings_are_gathered_by_policy_and_the_last_one_holds():
    assert policies("a,numa-node=1", "b,cpu-cores=0-1,8-8", "a,cpu-cores=4-5", "b,cpu-cores=2-3") == {
        "a": HostPolicy(frozenset({4, 5}), 1),
        "b": HostPolicy(frozenset({2, 3})),
    }


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("a", FORMAT + "a"),
        ("a,cpu-cores", FORMAT + "a,cpu-cores"),
        ("a,cpu-cores=", FORMAT + "a,cpu-cores="),
        (",cpu-cores=0-1", FORMAT + ",cpu-cores=0-1"),
        ("cpu-cores=0-1", FORMAT + "cpu-cores=0-1"),
        ("a,cpu-core=0-1", "unknown setting 'cpu-core'; expected numa-node or cpu-cores"),
        ("a,cpu-cores=3", RANGES + "3"),
        ("a,cpu-cores=0-1,3", RANGES + "3"),
        ("a,cpu-cores=0-1,", RANGES),
        ("a,cpu-cores=5-3", RANGES + "5-3"),
        ("a,cpu-cores=0-x", "Parsing 'cpu-cores' value: Can't parse 'x' to integer"),
        ("a,cpu-cores=-1", "Parsing 'cpu-cores' value: Can't parse '' to integer"),
        ("a,cpu-cores=0-1-2", "Parsing 'cpu-cores' value: Can't parse '1-2' to integer"),
        ("a,cpu-cores=0-99999999999999", "Provided option value is out of bound. Got 99999999999999"),
        ("a,numa-node=x", "Parsing 'numa-node' value: Can't parse 'x' to integer"),
        ("a,numa-node=-1", "Parsing 'numa-node' value: Can't parse '-1' to integer"),
        ("a,numa-node=8192", "Provided option value is out of bound. Got 8192"),
    ],
)
def test_a_mistake_is_named(value, message):
    with pytest.raises(SlipwayError) as caught:
        policies(value)
    assert caught.value.message.endswith(message)


def test_a_group_without_a_policy_has_that_of_its_device():
    assert policy_name(group('host_policy: "p"'), "CPU", 0) == "p"
    assert [policy_name(group(), kind, 2) for kind in ("CPU", "MODEL", "GPU")] == ["cpu", "model", "gpu_2"]


def test_a_policy_that_only_the_config_names_is_reported():
    config = model_config_pb2.ModelConfig(instance_group=[group(), *(group(f'host_policy: "{n}"') for n in "bab")])
    assert unknown_policies(config, {"a": HostPolicy()}) == ["b"]
    assert not_defined("b") == "host_policy 'b' has no effect without --host-policy=b,cpu-cores=RANGES"
