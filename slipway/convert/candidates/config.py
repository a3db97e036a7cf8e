"""The config of the model itself, scheduled as measured, and the file of its labels.

The models around it are written by the wings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tritonclient.grpc import model_config_pb2 as pb

from slipway.config.measured import BATCHING_MEASURED
from slipway.config.padding import LENGTH_STEP, MAX_PADDING_SHARE, MAX_TOKENS, PAD_VALUES, TRIM_OUTPUTS
from slipway.config.prepared import DEFAULT_TOKENS, PREPARED_TOKENS
from slipway.convert.candidates.batching import PADDING_SHARE
from slipway.convert.candidates.build import Built
from slipway.convert.candidates.subject import Interface
from slipway.convert.configs import model_input, model_output
from slipway.convert.plan import Plan
from slipway.core.signature import TensorSpec

LABELS = "labels.txt"
_EXACT_TOKENS: Final = 64  # most sentences; MiniLM keeps 4 MB for each length, as it would for requests
_CPU, _GPU = pb.ModelInstanceGroup.KIND_CPU, pb.ModelInstanceGroup.KIND_GPU


def model_config(
    name: str, interface: Interface, built: Built, plan: Plan, labels: Sequence[str] = ()
) -> pb.ModelConfig:
    """Return the config of the model itself, scheduled as in `plan`."""
    parameters = dict(built.parameters)
    config = pb.ModelConfig(
        name=name,
        backend=built.backend,
        platform=built.platform,
        default_model_filename=built.file,
        max_batch_size=interface.max_batch_size,
        input=[model_input(spec) for spec in interface.inputs],
        output=[labelled_output(spec, labels) for spec in interface.outputs],
        instance_group=[pb.ModelInstanceGroup(count=plan.instances, kind=_GPU if built.on_gpu else _CPU)],
    )
    if built.graph_level:
        config.optimization.graph.level = built.graph_level
    if plan.instances > 1 and built.backend == "onnxruntime":
        parameters["intra_op_thread_count"] = "1"  # otherwise each instance would use all cores
    if plan.max_tokens:
        config.dynamic_batching.SetInParent()
        parameters |= _length_batching(interface, built, plan)
    elif plan.why and interface.max_batch_size > 1:
        parameters[BATCHING_MEASURED] = plan.why
    parameters |= _prepared(interface, built, plan)
    for key, value in parameters.items():
        config.parameters[key].string_value = value
    return config


def _length_batching(interface: Interface, built: Built, plan: Plan) -> dict[str, str]:
    if not interface.pad_values:
        return {}
    trims = " ".join(f"{output}.{dim}={name}.{axis}" for output, dim, name, axis in interface.trims)
    return {
        PAD_VALUES: " ".join(f"{name}={value}" for name, value in interface.pad_values.items()),
        MAX_PADDING_SHARE: f"{PADDING_SHARE:g}",
        MAX_TOKENS: str(plan.max_tokens),
        **({TRIM_OUTPUTS: trims} if trims else {}),
        **({LENGTH_STEP: str(built.length_step)} if built.length_step > 1 else {}),
    }


def _prepared(interface: Interface, built: Built, plan: Plan) -> dict[str, str]:
    """Return which shapes a server prepares in advance: none of several instances, because each has its own memory for
    them, and fewer if lengths are not rounded up, because every length is then a shape."""
    if built.backend != "openvino" or not interface.pad_values or not interface.longest or plan.instances > 1:
        return {}
    most = DEFAULT_TOKENS if plan.max_tokens and built.length_step > 1 else _EXACT_TOKENS
    return {PREPARED_TOKENS: str(min(interface.longest, most))}


def labelled_output(spec: TensorSpec, labels: Sequence[str]) -> pb.ModelOutput:
    """Return an output of a config, with a label file if it has one value per label."""
    output = model_output(spec)
    if labels and spec.dims == (len(labels),):
        output.label_filename = LABELS
    return output


def write_labels(directory: Path, labels: Sequence[str]) -> None:
    """Write one label per line, as label files and the answer models require."""
    lines = (" ".join(label.splitlines()) for label in labels)
    (directory / LABELS).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
