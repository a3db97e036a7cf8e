"""How many instances a model gets, what they are called, and how many CPU threads each may use.

Reads the machine's limits (cgroups, affinity, devices) and the model's config; opens nothing. Instances are named as in
Triton's `model_config_utils.cc` (NormalizeInstanceGroup) and `backend_model.cc`: `<group>_<index>`.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.affinity import in_ranges, node_cpus
from slipway.backends.api import InstanceSpec
from slipway.backends.shared.parameters import explicit_threads
from slipway.config.host_policy import HostPolicy, policy_name
from slipway.cores import cpu_limit
from slipway.machine import gpu_count

_LOG: Final = logging.getLogger("slipway.instances")
_Group = model_config_pb2.ModelInstanceGroup


def shared_cpus(specs: Sequence[InstanceSpec]) -> frozenset[int]:
    """Return the CPUs of the threads that all instances share: those of every instance, none (any) if one has any."""
    return frozenset().union(*(spec.cpus for spec in specs)) if all(spec.cpus for spec in specs) else frozenset()


def threads_per_instance(config: model_config_pb2.ModelConfig, cpus: int | None = None) -> int:
    """Return the CPU threads one instance may use: its share of `cpus` (default: all), unless the config sets them."""
    explicit = explicit_threads(config)
    if explicit:
        return explicit
    available = cpu_limit() if cpus is None else cpus
    return max(1, available // max(1, len(instance_specs(config, warn=False))))


def instance_specs(
    config: model_config_pb2.ModelConfig,
    gpus: int | None = None,
    *,
    warn: bool = True,
    policies: Mapping[str, HostPolicy] | None = None,
) -> list[InstanceSpec]:
    """Return one spec per execution slot. On a machine without GPUs, a group for GPUs runs on the CPU, with a warning.

    Passive groups take no requests in Triton and load nothing here. Raise INVALID_ARG if a host policy names a NUMA
    node that the machine does not have.
    """
    available = gpu_count() if gpus is None else gpus
    specs: list[InstanceSpec] = []
    groups = config.instance_group or [_Group(name=config.name)]
    for position, group in enumerate(groups):
        if group.passive:
            continue
        name = group.name or f"{config.name}_{position}"
        if group.kind == _Group.KIND_GPU and not available and warn:
            _LOG.warning("model '%s': instance group '%s' requests a GPU; it runs on the CPU", config.name, name)
        for index in range(max(1, group.count)):
            for kind, device in _devices(group, available):
                policy = (policies or {}).get(policy_name(group, kind, device))
                cpus = _cpus(policy) if policy is not None else frozenset[int]()
                specs.append(InstanceSpec(f"{name}_{index}", len(specs), kind, device, position, cpus))
    return specs


def _cpus(policy: HostPolicy) -> frozenset[int]:
    """Return the CPUs of a policy; given CPUs take precedence over those of a node, whose memory is near them."""
    return policy.cores or (frozenset() if policy.node is None else node_cpus(policy.node))


def _devices(group: model_config_pb2.ModelInstanceGroup, gpus: int) -> list[tuple[str, int]]:
    if group.kind == _Group.KIND_MODEL:
        return [("MODEL", 0)]
    if group.kind == _Group.KIND_CPU or not gpus:
        return [("CPU", 0)]
    return [("GPU", device) for device in group.gpus or range(gpus)]


def describe_plan(specs: Sequence[InstanceSpec], threads: int) -> str:
    """Return a line for the start-up table, for example `2 x CPU, 4 threads each`, with the CPUs of host policies."""
    counts: dict[str, int] = {}
    for spec in specs:
        place = f"GPU {spec.device_id}" if spec.kind == "GPU" else spec.kind
        counts[place] = counts.get(place, 0) + 1
    places = " + ".join(f"{count} x {place}" for place, count in counts.items()) or "none"
    cpus = " / ".join(dict.fromkeys(in_ranges(spec.cpus) or "any" for spec in specs))
    pinned = f", on CPUs {cpus}" if any(spec.cpus for spec in specs) else ""
    return f"{places}, {threads} thread{'s' if threads != 1 else ''} each{pinned}"
