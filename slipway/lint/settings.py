"""Find settings of one config that are wrong, have no effect here, or are slow.

Pure; each check is a function of a completed config and the machine. `config/validate.py` finds what Triton itself
refuses. The fields are explained in Triton's `docs/user_guide/model_configuration.md`, "Dynamic Batcher" and "Instance
Groups".
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from tritonclient.grpc import model_config_pb2

from slipway.backends.registry import GRAPH_BACKENDS
from slipway.config.measured import BATCHING_MEASURED
from slipway.config.padding import TRIM_OUTPUTS, padding_problems, padding_rule
from slipway.config.sequences import sequence_plan
from slipway.config.unoffered import without_effect
from slipway.config.validate import cache_problems
from slipway.config.validate_sequence import sequence_problems
from slipway.errors import SlipwayError
from slipway.instances.plan import instance_specs, threads_per_instance
from slipway.lint.finding import Edit, Finding, Severity
from slipway.lint.model import Model
from slipway.lint.resources import own_resources
from slipway.machine import Machine
from slipway.problems import Named, Rule, Step

Check = Callable[[Model, Machine], Iterator[Finding]]
_Group: Final = model_config_pb2.ModelInstanceGroup


def preferred_sizes(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield lists of preferred sizes that are unsorted or have duplicates; the fix also drops unusable sizes."""
    for parent in (("dynamic_batching",), ("sequence_batching", "oldest")):
        path: tuple[Step, ...] = (*parent, "preferred_batch_size")
        holder = model.written
        for step in parent:
            holder = getattr(holder, step)
        sizes = list(holder.preferred_batch_size)
        best = sorted(set(sizes))
        if sizes == best:
            continue
        message = f"preferred_batch_size {sizes} is not in ascending order without duplicates"
        fix = f"write {[size for size in best if 0 < size <= model.config.max_batch_size]}"
        yield model.finding(Rule.PREFERRED_SIZE_UNSORTED, message, path, severity=Severity.WARNING, fix=fix)


def preferred_edits(model: Model) -> tuple[Edit, ...]:
    """Return the edit that sorts the preferred sizes and drops duplicates and sizes above max_batch_size."""
    sizes = list(model.written.dynamic_batching.preferred_batch_size)
    best = sorted({size for size in sizes if 0 < size <= model.config.max_batch_size})
    block = next(iter(model.document.values(("dynamic_batching",))), None)
    entries = [entry for entry in block.entries if entry.name == "preferred_batch_size"] if block else []
    if sizes == best or len(entries) != 1:  # several entries may have comments between them
        return ()
    text = f"preferred_batch_size: [ {', '.join(map(str, best))} ]" if best else ""
    return (Edit(entries[0].start, entries[0].end, text),)


def dynamic_without_batches(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield dynamic batching of a model that does not support batches: no requests would ever run together."""
    if model.config.HasField("dynamic_batching") and model.config.max_batch_size == 0:
        message = "dynamic_batching is set, but max_batch_size is 0, so requests never run together"
        fix = "set max_batch_size to 1 or more (dims then omit the first axis), or remove dynamic_batching"
        yield model.finding(Rule.BATCHING_WITHOUT_MAX_BATCH_SIZE, message, ("dynamic_batching",), fix=fix)


def instance_count(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield instance groups without an instance; the edit removes the count, which then defaults to 1."""
    for index, group in enumerate(model.document.values(("instance_group",))):
        entry = next((entry for entry in group.entries if entry.name == "count" and entry.values), None)
        if entry is None or model.written.instance_group[index].count > 0:
            continue
        message = f"instance_group {index} has count {entry.values[0].text}; it must be at least 1"
        path = ("instance_group", index, "count")
        edits = (Edit(entry.start, entry.end, ""),)
        yield model.finding(
            Rule.INSTANCE_COUNT, message, path, fix="remove count, which then defaults to 1", edits=edits
        )


def gpu_words(model: Model, machine: Machine) -> Iterator[Finding]:
    """Yield settings that request a GPU on a machine without one: the model runs on the CPU, or not at all."""
    if machine.gpus:
        return
    for path, word in _gpu_words(model.config):
        message = f"{word} requests a GPU, but this machine has none"
        fix = "remove it, unless the model is meant for another machine"
        if path == ("backend",):
            fix = "serve it on a machine with a GPU, or serve the ONNX file that it was built from with onnxruntime"
        yield model.finding(Rule.GPU_ON_CPU_HOST, message, path, severity=Severity.WARNING, fix=fix)


def _gpu_words(config: model_config_pb2.ModelConfig) -> Iterator[tuple[tuple[Step, ...], str]]:
    if config.backend == "tensorrt":
        yield ("backend",), "backend 'tensorrt'"
    for index, group in enumerate(config.instance_group):
        if group.kind == _Group.KIND_GPU:
            yield ("instance_group", index, "kind"), "KIND_GPU"
    if config.optimization.cuda.graphs:
        yield ("optimization", "cuda", "graphs"), "optimization.cuda.graphs"
    for index, accelerator in enumerate(config.optimization.execution_accelerators.gpu_execution_accelerator):
        path = ("optimization", "execution_accelerators", "gpu_execution_accelerator", index)
        yield path, f"gpu_execution_accelerator '{accelerator.name}'"


def passed_over(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield the settings that the server silently ignores."""
    for problem in without_effect(model.config):
        yield model.finding_of(problem, severity=Severity.WARNING)


def initial_states(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield initial states of sequences whose files cannot be used."""
    if any(sequence_problems(model.config)):
        return
    try:
        sequence_plan(model.config, model.directory)
    except SlipwayError as error:
        yield from map(model.finding_of, error.problems)


def cache_of_the_server(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield `response_cache`, which has an effect only on some servers; a server without a cache says so at a load."""
    if model.config.response_cache.enable and not any(cache_problems(model.config)):
        message = "response_cache has an effect only on a server that is started with --cache-config"
        fix = "start the server with --cache-config=local,size=BYTES, or remove response_cache"
        yield model.finding(Rule.RESPONSE_CACHE, message, ("response_cache",), severity=Severity.HINT, fix=fix)


def policies_of_the_server(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield `host_policy`, which has an effect only on some servers; a server without the policy says so at a load."""
    for index, group in enumerate(model.config.instance_group):
        if group.host_policy:
            message = "host_policy has an effect only on a server that is started with --host-policy"
            fix = f"start the server with --host-policy={group.host_policy},cpu-cores=RANGES, or remove it"
            path = ("instance_group", index, "host_policy")
            yield model.finding(Rule.INSTANCE_GROUP, message, path, severity=Severity.HINT, fix=fix)


def no_dynamic_batching(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield models that support batches but run single requests, unless that was measured to be best."""
    config = model.config
    if BATCHING_MEASURED in config.parameters:
        return
    if config.backend not in GRAPH_BACKENDS or config.max_batch_size < 2 or config.WhichOneof("scheduling_choice"):
        return
    message = f"the model supports batches of {config.max_batch_size}, but requests run one at a time"
    ending = "" if model.document.text.endswith("\n") else "\n"
    end = len(model.document.text)
    edits = (Edit(end, end, f"{ending}dynamic_batching {{}}\n"),) if end else ()
    path = ("max_batch_size",)
    fix = "add dynamic_batching {}"
    yield model.finding(Rule.NO_DYNAMIC_BATCHING, message, path, severity=Severity.HINT, fix=fix, edits=edits)


def threads_over_cores(model: Model, machine: Machine) -> Iterator[Finding]:
    """Yield models whose instances together use more threads than there are cores."""
    config = model.config
    if config.backend not in GRAPH_BACKENDS:
        return
    instances = len([spec for spec in instance_specs(config, machine.gpus, warn=False) if spec.kind != "GPU"])
    threads = threads_per_instance(config, machine.cpus)
    if instances * threads <= machine.cpus:
        return
    message = (
        f"{instances} instances with {threads} threads each need {instances * threads} cores, but this machine has "
        f"{machine.cpus}"
    )
    path = ("instance_group", 0, "count") if config.instance_group[0].count > 1 else ("parameters",)
    most = max(1, machine.cpus // threads)
    counts = f"count: {most}" if len(config.instance_group) == 1 else f"counts that add up to {most}"
    fix = f"use {counts}, or fewer threads for each instance"
    yield model.finding(Rule.THREADS_OVER_CORES, message, path, severity=Severity.WARNING, fix=fix)


def untrimmed_outputs(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield outputs that are as long as the longest request of a batch, and that shorter requests get untrimmed."""
    if padding_problems(model.config):  # reported as `length-batching`
        return
    rule = padding_rule(model.config)
    if rule is None:
        return
    trimmed = {(trim.output, trim.axis) for trim in rule.trims}
    source = f"{rule.inputs[0].name}.{rule.inputs[0].axes[0] - 1}"
    for output in model.config.output:
        for dim, size in enumerate(output.dims):
            if size != -1 or (output.name, dim + 1) in trimmed:
                continue
            message = (
                f"dim {dim} of output '{output.name}' varies, but {TRIM_OUTPUTS} does not name it: a padded request "
                f"gets the padding back in its response"
            )
            fix = f"add {output.name}.{dim}={source} to {TRIM_OUTPUTS} if the two have the same length"
            path = ("output", Named(output.name), "dims", dim)
            yield model.finding(Rule.OUTPUT_UNTRIMMED, message, path, severity=Severity.HINT, fix=fix)


def undeclared_tensors(model: Model, _: Machine) -> Iterator[Finding]:
    """Yield models without inputs or outputs, either declared or completed."""
    config = model.config
    for kind, declared in (("input", config.input), ("output", config.output)):
        if not declared and not (kind == "input" and config.batch_input):
            severity = Severity.ERROR if config.backend == "pytorch" else Severity.WARNING
            message = f"no {kind} is declared, and none can be read from the model's files"
            fix = f"declare each {kind}: {kind} [ {{ name: ... data_type: ... dims: ... }} ]"
            yield model.finding(Rule.TENSORS_UNDECLARED, message, (kind,), severity=severity, fix=fix)


# Checks of the config alone, cheap enough for every load. Rules about GPUs, and rules that the load enforces, are left
# out: the server reports those itself.
LOAD_CHECKS: Final[tuple[Check, ...]] = (
    preferred_sizes,
    no_dynamic_batching,
    threads_over_cores,
    untrimmed_outputs,
    undeclared_tensors,
    passed_over,
    own_resources,
)
CHECKS: Final[tuple[Check, ...]] = (
    *LOAD_CHECKS,
    initial_states,
    cache_of_the_server,
    policies_of_the_server,
    dynamic_without_batches,
    instance_count,
    gpu_words,
)
