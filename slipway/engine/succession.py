"""What a version keeps of its predecessor when a config changes only in its instance groups.

Triton updates such a model in place (`model_lifecycle.cc`, UpdateInstanceGroup). Here a new version takes over the
weights, the statistics and the instances that both configs have, so that both can serve while the old one drains.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tritonclient.grpc import model_config_pb2

from slipway.backends.api import InstanceSpec, KeepsLoaded
from slipway.backends.instance_api import Instance
from slipway.engine.model import ModelVersion
from slipway.instances.plan import shared_cpus


def keeps_loaded(former: ModelVersion, config: model_config_pb2.ModelConfig, specs: Sequence[InstanceSpec]) -> bool:
    """Return whether what `former` has loaded can serve `config`, which then differs only in its instance groups, with
    `specs`. The threads that all instances share stay on their CPUs for good."""
    loaded = former.loaded
    if not isinstance(loaded, KeepsLoaded) or not loaded.keeps_loaded:
        return False
    if shared_cpus(former.specs) != shared_cpus(specs):
        return False
    return former.config != config and _without_groups(former.config) == _without_groups(config)


def _without_groups(config: model_config_pb2.ModelConfig) -> model_config_pb2.ModelConfig:
    rest = model_config_pb2.ModelConfig()
    rest.CopyFrom(config)
    rest.ClearField("instance_group")
    return rest


def kept_instances(former: ModelVersion | None, specs: Sequence[InstanceSpec]) -> dict[InstanceSpec, Instance]:
    """Return the instances of `former` that have the name, place and CPUs of one of `specs`, by that spec."""
    if former is None:
        return {}
    present = {_place(spec): instance for spec, instance in zip(former.specs, former.instances, strict=True)}
    return {spec: present[_place(spec)] for spec in specs if _place(spec) in present}


def _place(spec: InstanceSpec) -> InstanceSpec:
    return replace(spec, index=0, group=0)
