"""Triton's own texts as findings: which rule a text is about, which field it means, and what to do.

`config/validate*.py`, the backends and the completion say what is wrong; this table only sorts and places what they
say. A text that no row knows is shown all the same, under the rule `config-invalid`.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from slipway.backends.registry import BUILT_IN
from slipway.lint.document import Named, Step
from slipway.lint.finding import Finding
from slipway.lint.model import Model

Match = re.Match[str]
Place = Callable[[Match, Model], tuple[Step, ...]]

TOKENIZER_TENSORS: Final = frozenset({"input_ids", "attention_mask", "token_type_ids", "position_ids"})
_TOKENIZER_RULES: Final = {
    "tensor-not-in-graph": "tokenizer-input-unknown",
    "step-input-unknown": "tokenizer-input-unknown",
    "step-input-unmapped": "tokenizer-input-missing",
}


@dataclass(frozen=True, slots=True)
class _Row:
    """`place` are the steps to the field, `{group}` of the pattern filled in, `@{group}` meaning what bears that name;
    or a function where it takes more. `fix` may use the groups too."""

    rule: str
    pattern: re.Pattern[str]
    place: tuple[str, ...] | Place = ()
    fix: str | Callable[[Match], str] = ""


def _row(rule: str, pattern: str, place: tuple[str, ...] | Place = (), fix: str | Callable[[Match], str] = "") -> _Row:
    return _Row(rule, re.compile(pattern, re.DOTALL), place, fix)


def find_problems(model: Model, texts: Iterable[str]) -> Iterator[Finding]:
    """Yield one finding for each text about `model`."""
    for text in texts:
        yield find_problem(model, text)


def find_problem(model: Model, text: str) -> Finding:
    """Return the finding that a text about `model` tells."""
    for row in ROWS:
        found = row.pattern.search(text)
        if found is None:
            continue
        fix = row.fix(found) if callable(row.fix) else row.fix.format(**found.groupdict())
        return model.finding(_tokenizer_rule(row.rule, found), text, _place(row, found, model), fix=fix)
    return model.finding("config-invalid", text, fix="correct what the text names; it is what the server would say")


def _place(row: _Row, found: Match, model: Model) -> tuple[Step, ...]:
    if callable(row.place):
        return row.place(found, model)
    steps = (step.format(**found.groupdict()) for step in row.place)
    return tuple(Named(step[1:]) if step.startswith("@") else int(step) if step.isdigit() else step for step in steps)


def _tokenizer_rule(rule: str, found: Match) -> str:
    """Return the rule for tokenizers where the tensor is one of theirs: their users look for other words."""
    groups = found.groupdict()
    if groups.get("tensor") not in TOKENIZER_TENSORS or groups.get("kind") == "output":
        return rule
    return _TOKENIZER_RULES.get(rule, rule)


# Places that take a look at the config


def _preferred(is_wrong: Callable[[int, int], bool]) -> Place:
    def place(_: Match, model: Model) -> tuple[Step, ...]:
        config = model.config
        sequence = config.WhichOneof("scheduling_choice") == "sequence_batching"
        batching = config.sequence_batching.oldest if sequence else config.dynamic_batching
        sizes = list(batching.preferred_batch_size)
        index = next((i for i, size in enumerate(sizes) if is_wrong(size, config.max_batch_size)), 0)
        path = ("sequence_batching", "oldest") if sequence else ("dynamic_batching",)
        return (*path, "preferred_batch_size", index)

    return place


def _step_with(map_name: str, *, key: str = "", tensor: str = "", of: str = "") -> Place:
    """Return the place of a map entry of a step: by the group that has its key or its tensor, and its model."""

    def place(found: Match, model: Model) -> tuple[Step, ...]:
        for index, step in enumerate(model.config.ensemble_scheduling.step):
            if of and step.model_name != found[of]:
                continue
            for name, value in getattr(step, map_name).items():
                if (not key or name == found[key]) and (not tensor or value == found[tensor]):
                    return ("ensemble_scheduling", "step", index, map_name, Named(name, "key"))
        return ("ensemble_scheduling",)

    return place


def _step_of(group: str, *fields: str) -> Place:
    """Return the place of a step by its model's name."""

    def place(found: Match, model: Model) -> tuple[Step, ...]:
        steps = list(model.config.ensemble_scheduling.step)
        index = next((i for i, step in enumerate(steps) if step.model_name == found[group]), 0)
        return ("ensemble_scheduling", "step", index, *fields)

    return place


def _mapped_tensor(found: Match, model: Model) -> tuple[Step, ...]:
    """Return where the later of two models takes or gives the tensor, or where the ensemble declares it."""
    for name in ("input_map", "output_map"):
        place = _step_with(name, tensor="tensor", of="model")(found, model)
        if len(place) > 1:
            return place
    return ("ensemble_scheduling",)


def _first_with(field: str, model: Model) -> tuple[Step, ...]:
    """Return the first tensor or instance group that has the field."""
    for name in ("input", "output", "instance_group"):
        for index, value in enumerate(model.document.values((name,))):
            if any(entry.name == field and entry.values[0].text.lstrip("-").isdigit() for entry in value.entries):
                return (name, index, field)
    return ()


# What to do


def _choose_tensor(found: Match) -> str:
    allowed = found["allowed"].split(", ")
    if found["tensor"] in TOKENIZER_TENSORS:
        return f"remove {found['tensor']} here and from the input_map of ensembles: the model does not take it"
    close = difflib.get_close_matches(found["tensor"], allowed, n=1)
    if close:
        return f"write {close[0]} instead of {found['tensor']}"
    return f"remove {found['tensor']}, or rename it to one of {found['allowed']}"


_BATCH_TENSOR: Final = "name one of the model's inputs or outputs, in a kind and data type that batches have"
_STEP: Final = ("ensemble_scheduling", "step", "{index}")
_TENSOR: Final = r"model (?P<kind>input|output) '(?P<tensor>[^']*)' "
_BATCH_AXIS: Final = (
    "export the model with a variable first axis (dynamic_axes), or set max_batch_size: 0 and write the whole shape "
    "into dims"
)

ROWS: Final = (
    # config/validate.py: a number that is no value of its enum
    _row(
        "unknown-value",
        "^field '(?P<field>\\w+)' has the unknown value",
        lambda found, model: _first_with(found["field"], model),
        "write the name of a value, such as TYPE_FP32 or KIND_CPU",
    ),
    # config/padding.py
    _row(
        "length-batching",
        r"^parameter '(?P<key>LENGTH_BATCHING_\w+)' is ",
        lambda found, _: ("parameters", Named(found["key"], "key"), "value"),
        "correct the value, or remove every LENGTH_BATCHING_ key: requests of different lengths then run apart",
    ),
    # config/validate.py
    _row("max-batch-size-negative", "'max_batch_size' must be non-negative", ("max_batch_size",), "write 0 or more"),
    _row("response-cache", "Response Cache does not", ("response_cache",), "remove response_cache"),
    _row("limit-exceeded", "version policy must name at most", ("version_policy",), "use all or latest"),
    _row("repository-agent", "repository agents are not supported", ("model_repository_agents",), "remove the agents"),
    _row("limit-exceeded", "warmup sample '(?P<sample>[^']*)'", ("model_warmup", "@{sample}"), "make it smaller"),
    _row("file-outside", "model file '.*' must stay", ("default_model_filename",), "name a file of the version"),
    _row(
        "file-outside",
        "label file .* of output '(?P<tensor>[^']*)' must",
        ("output", "@{tensor}", "label_filename"),
        "put the file into the model's directory",
    ),
    _row("file-outside", "(?P<kind>initial state|warmup) file .* must stay", (), "put it into the model's directory"),
    # config/validate_tensors.py
    _row("field-missing", "model (?P<kind>input|output) must specify 'name'", ("{kind}",), "give it a name"),
    _row(
        "field-missing",
        _TENSOR + "must specify '(?P<field>data_type|dims)'",
        ("{kind}", "@{tensor}"),
        "add {field} to {tensor}",
    ),
    _row("dims-invalid", _TENSOR + "dimension must", ("{kind}", "@{tensor}", "dims"), "write -1 for a variable size"),
    _row("limit-exceeded", _TENSOR + "has more than", ("{kind}", "@{tensor}", "dims")),
    _row("tensor-declared-twice", _TENSOR + "is specified more", ("{kind}", "@{tensor}"), "remove one of them"),
    _row(
        "reshape-mismatch",
        _TENSOR + ".*reshape",
        ("{kind}", "@{tensor}", "reshape"),
        "write a reshape with as many elements as dims",
    ),
    _row("tensorrt-only", "only supported for (the )?TensorRT platform", (), "remove the word"),
    _row("input-format", "NHWC/NCHW require 3 dims", ("input",), "write 3 dims or remove the format"),
    _row("batch-tensors", "batch input|source input name", ("batch_input",), _BATCH_TENSOR),
    _row("batch-tensors", "batch output|target output", ("batch_output",), _BATCH_TENSOR),
    # config/validate_scheduling.py, validate_sequence.py
    _row(
        "preferred-size-not-positive",
        "preferred (batch )?size must be positive",
        _preferred(lambda size, _: size <= 0),
        "remove it",
    ),
    _row(
        "preferred-size-above-max",
        "preferred (batch )?size must be <= max",
        _preferred(lambda size, limit: size > limit),
        "remove it, or raise max_batch_size",
    ),
    _row(
        "preserve-ordering",
        "'preserve_ordering' is true",
        ("dynamic_batching", "preserve_ordering"),
        "remove preserve_ordering, or the priority levels and delays",
    ),
    _row(
        "priority-levels",
        "priority level",
        ("dynamic_batching", "priority_levels"),
        "number the levels from 1 to priority_levels",
    ),
    _row(
        "sequence-batching",
        "sequence batching|for control|initial_state",
        ("sequence_batching",),
        "give each control tensor a name and one pair of values, each state its initial data",
    ),
    _row(
        "instance-group",
        "instance group (?P<group>.*) of model .* but specifies one or more GPUs",
        ("instance_group", "@{group}"),
        "remove gpus, or write kind: KIND_GPU",
    ),
    _row(
        "instance-group",
        "instance group (?P<group>.*) of model .* invalid or unsupported gpu id",
        ("instance_group", "@{group}", "gpus"),
        "number the GPUs from 0",
    ),
    _row(
        "instance-group",
        "instance group (?P<group>.*) of model .* and platform",
        ("instance_group", "@{group}", "profile"),
        "remove profile",
    ),
    _row("limit-exceeded", "at most .* instances are allowed", ("instance_group",), "ask for fewer"),
    # config/complete.py
    _row(
        "platform-backend",
        "platform type '|platform' and 'backend'",
        ("platform",),
        f"write the backend alone: {', '.join(BUILT_IN)}",
    ),
    _row("platform-backend", "Could not determine backend", (), "write backend, or put the model's file in place"),
    # What the backends say, when they complete a config and when they hold it against the model file.
    _row(
        "batch-axis-fixed",
        "model does not support batching|for the model to support batching",
        ("max_batch_size",),
        _BATCH_AXIS,
    ),
    _row(
        "tensor-not-in-graph",
        "inference (?P<kind>input|output) '(?P<tensor>.*)', allowed .*: (?P<allowed>.*)",
        ("{kind}", "@{tensor}", "name"),
        _choose_tensor,
    ),
    _row("tensor-not-in-graph", "do not name the indices|model takes a dictionary of", ("input",), "rename the inputs"),
    _row("input-count", "configuration expects \\d+ inputs", ("input",)),
    _row(
        "datatype-not-graph",
        r"datatype \w+ for (?P<kind>input|output) '(?P<tensor>.*)', model provides (?P<type>\w+)",
        ("{kind}", "@{tensor}", "data_type"),
        "write data_type: {type}",
    ),
    _row(
        "dims-not-graph",
        "model '[^']*', (scalar )?tensor '(?P<tensor>[^']*)'",
        lambda found, model: _declared(found["tensor"], model),
        "write the dims that the model has, without the batch axis when max_batch_size is above 0",
    ),
    _row(
        "dims-not-graph",
        "for ragged input '(?P<tensor>[^']*)'",
        ("input", "@{tensor}", "allow_ragged_batch"),
        "remove allow_ragged_batch, or export the model with one variable axis for all rows of {tensor}",
    ),
    _row("optional-input", "optional input '(?P<tensor>.*)' is", ("input", "@{tensor}", "optional"), "remove optional"),
    # config/validate_ensemble.py
    _row(
        "platform-backend",
        "ensemble scheduling (cannot|must) be set|must have platform type 'ensemble'",
        ("platform",),
        'write platform: "ensemble" and no backend beside ensemble_scheduling',
    ),
    _row(
        "ensemble-field",
        "(?P<field>instance group|optimization|model_warmup) (should not|can not) be",
        lambda found, _: (found["field"].replace(" ", "_"),),
        "remove it: set it on the models of the steps",
    ),
    _row("field-missing", "must specify 'step'", ("ensemble_scheduling",), "add a step for each model"),
    _row("field-missing", r"must specify '(?P<field>\w+)' in step (?P<index>\d+)", _STEP, "add {field}"),
    _row(
        "tensor-produced-twice",
        r"ensemble tensor '(?P<tensor>.*)' .*output map.* step (?P<index>\d+)",
        _STEP,
        "give {tensor} another name in one of the steps",
    ),
    _row(
        "tensor-unused",
        "ensemble input '(?P<tensor>.*)' for .* is not used",
        ("input", "@{tensor}"),
        "remove it, or give it to a step",
    ),
    _row(
        "tensor-unused",
        "ensemble tensor '(?P<tensor>.*)' is unused",
        _step_with("output_map", tensor="tensor"),
        "remove it from the output_map, or give it to a step",
    ),
    _row(
        "tensor-not-produced",
        "ensemble output '(?P<tensor>.*)' for .* is not used",
        ("output", "@{tensor}"),
        "name it in the output_map of the step that makes it",
    ),
    _row(
        "tensor-not-produced",
        "is not written: .*, '(?P<tensor>.*)', is not connected",
        _step_with("input_map", tensor="tensor"),
        "name {tensor} in an output_map, or make it an input",
    ),
    _row(
        "ensemble-cycle",
        "circular dependency .* -> (?P<step>.*) ->",
        ("ensemble_scheduling",),
        "take the ensemble out of the steps that it is made of",
    ),
    _row(
        "ensemble-batch-size",
        "but it contains model (?P<step>.*) which only allows .* be (?P<size>\\d+)",
        ("max_batch_size",),
        "write max_batch_size: {size}, or raise that of {step}",
    ),
    _row(
        "step-input-unknown",
        "tensor .* is mapping to non-existing input (?P<tensor>.*) in model (?P<step>.*)",
        _step_with("input_map", key="tensor", of="step"),
        "remove {tensor} from the input_map",
    ),
    _row(
        "step-output-unknown",
        "tensor .* is mapped from non-existing output (?P<tensor>.*) in model (?P<step>.*)",
        _step_with("output_map", key="tensor", of="step"),
        "name an output of {step}",
    ),
    _row(
        "step-input-unmapped",
        "input (?P<tensor>.*) in model (?P<step>.*) is not mapped",
        _step_of("step", "input_map"),
        "add {tensor} to the input_map of {step}, and to what makes it",
    ),
    _row(
        "step-datatype-mismatch",
        "ensemble tensor (?P<tensor>.*): inconsistent data type.* model (?P<model>.*)",
        _mapped_tensor,
        "give both the same data_type",
    ),
    _row(
        "step-dims-mismatch",
        "ensemble tensor (?P<tensor>.*): inconsistent shape.* model (?P<model>.*)",
        _mapped_tensor,
        "give both the same dims",
    ),
)


def _declared(tensor: str, model: Model) -> tuple[Step, ...]:
    kind = "input" if any(each.name == tensor for each in model.config.input) else "output"
    return (kind, Named(tensor), "dims")
