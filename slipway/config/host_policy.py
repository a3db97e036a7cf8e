"""What `--host-policy` specifies: the processors on which the instances of a policy run.

Pure; the texts are those of tritonserver (`command_line_parser.cc`, `numa_utils.cc`), which finds mistakes in a value
only when it loads a model. `affinity.py` knows the machine.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from slipway.config.flags import Kind

if TYPE_CHECKING:  # the help and a mistaken flag need neither protobuf nor numpy
    from tritonclient.grpc import model_config_pb2

CPU_CORES: Final = "cpu-cores"
NUMA_NODE: Final = "numa-node"
POLICY_HELP: Final = (
    "the CPUs on which the instances of groups with this host_policy run (cpu, if they name none): cpu-cores=0-3,8-9 "
    "or numa-node=N"
)

_FORMAT: Final = "--host-policy option format is '<policy name>,<setting>=<value>'. Got "
_RANGE_FORMAT: Final = "host policy setting 'cpu-cores' format is '<lower_cpu_core_id>-<upper_cpu_core_id>'. Got "
_SETTING: Final = re.compile(r"([^,]+),([^=]+)=(.+)", re.DOTALL)
_MOST: Final = 8191  # Linux supports 8192 processors and 1024 nodes at most


@dataclass(frozen=True, slots=True)
class HostPolicy:
    """Processors by number, () if they are not given; and a NUMA node, None if it is not given."""

    cores: frozenset[int] = frozenset()
    node: int | None = None


@dataclass(frozen=True, slots=True)
class PolicySetting:
    """One setting of the policy `name`; the other field of `policy` is empty."""

    name: str
    policy: HostPolicy


def _read_setting(text: str) -> PolicySetting:
    match = _SETTING.fullmatch(text)
    if match is None:
        raise ValueError(_FORMAT + text)
    name, setting, value = match.groups()
    if setting == CPU_CORES:
        return PolicySetting(name, HostPolicy(cores=frozenset(_cores(value))))
    if setting == NUMA_NODE:
        return PolicySetting(name, HostPolicy(node=_number(setting, value)))
    raise ValueError(f"unknown setting '{setting}'; expected {NUMA_NODE} or {CPU_CORES}")


def _cores(text: str) -> Iterable[int]:
    for part in text.split(","):
        low, dash, high = part.partition("-")
        if not dash:
            raise ValueError(_RANGE_FORMAT + part)
        first, last = _number(CPU_CORES, low), _number(CPU_CORES, high)
        if first > last:
            raise ValueError(_RANGE_FORMAT + part)
        yield from range(first, last + 1)


def _number(setting: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ValueError(f"Parsing '{setting}' value: Can't parse '{text}' to integer")
    if len(text) > 9 or int(text) > _MOST:
        raise ValueError(f"Provided option value is out of bound. Got {text}")
    return int(text)


HOST_POLICY: Final = Kind("NAME,SETTING=VALUE", _read_setting)


def by_policy(settings: Iterable[PolicySetting]) -> Mapping[str, HostPolicy]:
    """Return the policies by name; of one setting that is given twice, the last value holds."""
    policies: dict[str, HostPolicy] = {}
    for each in settings:
        given = {"cores": each.policy.cores} if each.policy.cores else {"node": each.policy.node}
        policies[each.name] = replace(policies.get(each.name, HostPolicy()), **given)
    return policies


def policy_name(group: model_config_pb2.ModelInstanceGroup, kind: str, device: int) -> str:
    """Return the policy of an instance of `group` on a device; without `host_policy` it is named after the device."""
    if group.host_policy:
        return str(group.host_policy)
    return {"CPU": "cpu", "MODEL": "model"}.get(kind, f"gpu_{device}")


def not_defined(policy: str) -> str:
    """Return why a group's `host_policy` has no effect."""
    return f"host_policy '{policy}' has no effect without --host-policy={policy},{CPU_CORES}=RANGES"


def unknown_policies(config: model_config_pb2.ModelConfig, policies: Mapping[str, HostPolicy]) -> list[str]:
    """Return the policies that `config` names and the command line does not define; they have no effect."""
    return sorted({group.host_policy for group in config.instance_group if group.host_policy} - policies.keys())
