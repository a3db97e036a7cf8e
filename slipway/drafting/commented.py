"""A drafted configuration as config.pbtxt text: every choice with its reason in a comment beside it.

What it writes is what `parse_config` reads back. Knows no model file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from tritonclient.grpc import model_config_pb2

from slipway.backends.registry import GRAPH_BACKENDS, thread_key
from slipway.drafting.draft import Draft
from slipway.machine import Machine

_Group = model_config_pb2.ModelInstanceGroup


def config_text(draft: Draft, machine: Machine) -> str:
    """Return the text of a drafted configuration."""
    config = draft.config
    blocks = [_head(draft), _batching(draft), _tensors("input", config.input), _tensors("output", config.output)]
    if config.HasField("ensemble_scheduling"):
        blocks.append(_steps(config))
    else:
        blocks += [_instances(config, machine), _scheduling(config), _policy(config)]
    return "\n\n".join("\n".join(block) for block in map(list, blocks) if block) + "\n"


def _head(draft: Draft) -> Iterator[str]:
    config, name = draft.config, draft.config.name
    kind = "ensemble" if draft.file is None else "model"
    beside = "an empty directory 1" if draft.file is None else f"the file {_quoted(f'1/{draft.file.name}')}"
    yield f"# The {kind} {_quoted(name)}, made by `slipway config create`. NVIDIA Triton reads it too."
    yield f"# Its place is the directory {_quoted(name)} of a repository, as config.pbtxt beside {beside}."
    yield f"name: {_quoted(config.name)}  # must be the directory's name"
    if config.platform:
        yield f"platform: {_quoted(config.platform)}"
    if config.backend:
        yield f"backend: {_quoted(config.backend)}"
    if config.default_model_filename:
        yield f"default_model_filename: {_quoted(config.default_model_filename)}  # not the backend's usual name"


def _batching(draft: Draft) -> Iterator[str]:
    config = draft.config
    if draft.file is None:
        yield "# The smallest of its models' own: a step may not be given more rows than its model takes."
    elif config.max_batch_size > 0:
        yield "# How many rows may run together. Each tensor's first axis is variable: it stands for the rows, and dims"
        yield "# leave it out. 8 to 16 suit a CPU; more adds waiting and memory, not throughput."
    elif draft.unbatched:
        yield "# 0: requests run one by one and dims are whole shapes:"
        yield f"# {draft.unbatched}."
    else:
        yield "# 0: requests run one by one and dims are whole shapes: some tensor's first axis is fixed, or it was"
        yield "# asked for."
    yield f"max_batch_size: {config.max_batch_size}"


def _tensors(kind: str, tensors: Sequence[Any]) -> Iterator[str]:
    if any(-1 in tensor.dims for tensor in tensors):
        yield "# -1: a size that may differ from request to request"
    yield f"{kind} ["
    for position, tensor in enumerate(tensors):
        comma = "," if position < len(tensors) - 1 else ""
        yield f"  {{ {_tensor(tensor)} }}{comma}"
    yield "]"


def _tensor(tensor: Any) -> str:
    words = [
        f"name: {_quoted(tensor.name)}",
        f"data_type: {model_config_pb2.DataType.Name(tensor.data_type)}",
        f"dims: {_list(tensor.dims)}",
    ]
    if tensor.HasField("reshape"):
        words.append(f"reshape {{ shape: {_list(tensor.reshape.shape)} }}")
    if getattr(tensor, "optional", False):
        words.append("optional: true")
    return " ".join(words)


def _instances(config: model_config_pb2.ModelConfig, machine: Machine) -> Iterator[str]:
    threads = max(1, machine.cpus)
    if config.backend in GRAPH_BACKENDS:
        yield "# One instance with all cores answers a lone request soonest; several share the cores. Raise count for"
        yield f"# many short requests at once, but keep instances x threads within the cores ({machine.cpus} here)."
    else:
        yield "# Each instance of a Python model is a process. Raise count for code that waits or computes long."
    kind = f" kind: {_Group.Kind.Name(config.instance_group[0].kind)}" if not machine.gpus else ""
    yield f"instance_group [ {{ count: 1{kind} }} ]"
    key = thread_key(config.backend)
    if key:
        yield "# Slipway divides the cores among the instances. NVIDIA Triton gives all of them to each, unless told:"
        yield f'# parameters {{ key: "{key}" value {{ string_value: "{threads}" }} }}'


def _scheduling(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    if not config.HasField("dynamic_batching"):
        return
    batching = config.dynamic_batching
    yield "# Requests that wait at the same time run together."
    yield "dynamic_batching {"
    if batching.preferred_batch_size:
        yield "  # Powers of two up to max_batch_size: a batch of such a size need not wait for more."
        yield f"  preferred_batch_size: {_list(batching.preferred_batch_size)}"
    if batching.max_queue_delay_microseconds:
        yield "  # 100 us is for latency: nobody notices the wait. For throughput 500 to 2000, so that batches fill up."
        yield f"  max_queue_delay_microseconds: {batching.max_queue_delay_microseconds}"
    yield "}"


def _policy(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    if config.model_transaction_policy.decoupled:
        yield "# A request may have any number of answers, as the model says."
        yield "model_transaction_policy { decoupled: true }"


def _steps(config: model_config_pb2.ModelConfig) -> Iterator[str]:
    yield "# key: the model's own name of the tensor, value: the ensemble's. Tensors of equal names are connected."
    yield "ensemble_scheduling {"
    for step in config.ensemble_scheduling.step:
        yield "  step {"
        yield f"    model_name: {_quoted(step.model_name)}"
        yield "    model_version: -1  # the newest"
        for field in ("input_map", "output_map"):
            for key, value in sorted(getattr(step, field).items()):
                yield f"    {field} {{ key: {_quoted(key)} value: {_quoted(value)} }}"
        yield "  }"
    yield "}"


def _list(values: Sequence[int]) -> str:
    return f"[ {', '.join(map(str, values))} ]" if values else "[ ]"


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
