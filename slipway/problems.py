"""What can be wrong with a model or a repository: the rules, and the problem that breaks one.

A `Problem` is made where it is found, with its rule, its text, the field it is about and the fix. An error carries it
(errors.py), the linter gives it a place in a file, and `slipway verify` advises by its rule, so texts are never parsed.
The rules are a closed set, defined only here. Knows neither files nor who finds what.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Rule(StrEnum):
    """The id of a rule, with a sentence that states it."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Self:
        """Return the member `name` with its `sentence`."""
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.sentence = sentence
        return rule

    # the text
    CONFIG_UNREADABLE = "config-unreadable", "config.pbtxt can be opened, and is UTF-8 text of a reasonable size"
    SYNTAX_ERROR = "syntax-error", "config.pbtxt is protobuf text format, with values of the right type"
    UNKNOWN_FIELD = "unknown-field", "every field exists in ModelConfig"
    UNKNOWN_VALUE = "unknown-value", "enum fields have values that exist, such as TYPE_FP32"
    TEMPLATE_UNFILLED = "template-unfilled", "no ${...} from a template is left"
    # directories and files
    NO_MODELS = "no-models", "the repository contains at least one model"
    STRAY_DIRECTORY = "stray-directory", "every directory of the repository is a model"
    DIRECTORY_NAME_BLANK = "directory-name-blank", "directory names do not begin or end with whitespace"
    NAME_NOT_DIRECTORY = "name-not-directory", "a model has the name of its directory"
    VERSION_MISSING = "version-missing", "the version policy selects at least one version directory"
    VERSION_IGNORED = "version-ignored", "version directories are named by a number without leading zeros"
    VERSION_EMPTY = "version-empty", "version directories contain the model's files; only an ensemble's may be empty"
    FILE_MISSING = "file-missing", "every served version contains the file that the backend opens"
    FILE_UNREADABLE = "file-unreadable", "files and directories are readable by the current user"
    FILE_ENDLESS = "file-endless", "a model's directory contains no FIFO and no device"
    LABEL_FILE_MISSING = "label-file-missing", "label files exist and are text"
    LABEL_COUNT = "label-count", "a label file has one line for each element of its output"
    # platform and backend
    PLATFORM_BACKEND = "platform-backend", "a platform or backend is specified, and the two match"
    BACKEND_UNKNOWN = "backend-unknown", "the backend is available in this server"
    BACKEND_NOT_INSTALLED = "backend-not-installed", "the library that the backend needs is installed"
    COMPLETION_FAILED = "completion-failed", "what the config omits can be completed from the model"
    # what Triton's own validation requires
    FIELD_MISSING = "field-missing", "required fields are set"
    DIMS_INVALID = "dims-invalid", "dims are at least 1, or -1 for a variable size"
    RESHAPE_MISMATCH = "reshape-mismatch", "dims and reshape have the same number of elements"
    TENSOR_DECLARED_TWICE = "tensor-declared-twice", "a tensor is declared only once"
    MAX_BATCH_SIZE_NEGATIVE = "max-batch-size-negative", "max_batch_size is not negative"
    PREFERRED_SIZE_NOT_POSITIVE = "preferred-size-not-positive", "preferred batch sizes are positive"
    PREFERRED_SIZE_ABOVE_MAX = "preferred-size-above-max", "preferred batch sizes are at most max_batch_size"
    PRIORITY_LEVELS = "priority-levels", "priority levels are in the range that the config specifies"
    PRESERVE_ORDERING = "preserve-ordering", "preserve_ordering is used with one priority level and no delayed requests"
    SEQUENCE_BATCHING = "sequence-batching", "sequence batching has the control tensors and states that it needs"
    BATCH_TENSORS = "batch-tensors", "batch_input and batch_output name tensors of the model, with suitable kinds"
    LENGTH_BATCHING = "length-batching", "batching by length has pad values and limits that fit the tensors"
    RESPONSE_CACHE = "response-cache", "the response cache is enabled only where it can work"
    INSTANCE_GROUP = "instance-group", "an instance group's kind, gpus and profiles are compatible"
    RATE_LIMITER = (
        "rate-limiter",
        "there is enough of every resource, and it is global in all models or none",
    )
    LIMIT_EXCEEDED = "limit-exceeded", "counts and sizes are within what one machine can handle"
    FILE_OUTSIDE = "file-outside", "files are inside the model's directory"
    TENSORRT_ONLY = "tensorrt-only", "fields for TensorRT are used only with TensorRT"
    INPUT_FORMAT = "input-format", "inputs in NHWC or NCHW format have 3 dims"
    NOT_OFFERED = "not-offered", "a model needs only features that this version supports"
    WITHOUT_EFFECT = "without-effect", "every setting has an effect in this server"
    REPOSITORY_AGENT = "repository-agent", "no repository agents are configured"
    PARAMETER_INVALID = "parameter-invalid", "parameters have values that the backend can use"
    CONFIG_INVALID = "config-invalid", "nothing else keeps the config from being served"
    # other settings of one config
    PREFERRED_SIZE_UNSORTED = "preferred-size-unsorted", "preferred batch sizes are ascending, without duplicates"
    BATCHING_WITHOUT_MAX_BATCH_SIZE = (
        "batching-without-max-batch-size",
        "dynamic batching is used with a max_batch_size",
    )
    INSTANCE_COUNT = "instance-count", "an instance group has at least one instance"
    GPU_ON_CPU_HOST = "gpu-on-cpu-host", "no GPU is requested on a machine without one"
    NO_DYNAMIC_BATCHING = "no-dynamic-batching", "a model that supports batches gets batches"
    OUTPUT_UNTRIMMED = (
        "output-untrimmed",
        "with batching by length, padding is trimmed from outputs that vary in length",
    )
    THREADS_OVER_CORES = "threads-over-cores", "instances times threads do not exceed the number of cores"
    TENSORS_UNDECLARED = "tensors-undeclared", "a model has at least one input and one output"
    # the model file itself
    GRAPH_UNREADABLE = "graph-unreadable", "the model file can be opened"
    TENSOR_NOT_IN_GRAPH = "tensor-not-in-graph", "declared tensors exist in the model file"
    INPUT_COUNT = "input-count", "every input of the model file is declared"
    DATATYPE_NOT_GRAPH = "datatype-not-graph", "declared datatypes match the model file"
    DIMS_NOT_GRAPH = "dims-not-graph", "declared dims match the model file"
    DIMS_UNKNOWN = "dims-unknown", "tensors are declared if the model file does not specify their shape"
    BATCH_AXIS_FIXED = "batch-axis-fixed", "with a max_batch_size, the model file's first axis is variable"
    OPTIONAL_INPUT = "optional-input", "ONNX models that support batching have no optional inputs"
    # across models
    ENSEMBLE_FIELD = "ensemble-field", "an ensemble has no settings that apply only to models with instances"
    ENSEMBLE_BATCH_SIZE = "ensemble-batch-size", "an ensemble's max_batch_size is at most that of each of its models"
    STEP_MODEL_MISSING = "step-model-missing", "the models of an ensemble's steps exist"
    ENSEMBLE_CYCLE = "ensemble-cycle", "no ensemble contains itself"
    TENSOR_CYCLE = "tensor-cycle", "no tensor of an ensemble depends on itself"
    TENSOR_UNUSED = "tensor-unused", "every input of an ensemble and every tensor that a step produces is used"
    TENSOR_NOT_PRODUCED = "tensor-not-produced", "every tensor that is used is an input or is produced by a step"
    TENSOR_PRODUCED_TWICE = "tensor-produced-twice", "a tensor of an ensemble is produced only once"
    STEP_INPUT_UNKNOWN = "step-input-unknown", "steps map only inputs that the model has"
    STEP_INPUT_UNMAPPED = "step-input-unmapped", "steps map every input that the model needs"
    STEP_OUTPUT_UNKNOWN = "step-output-unknown", "steps map only outputs that the model has"
    STEP_DATATYPE_MISMATCH = "step-datatype-mismatch", "tensors keep their datatype from step to step"
    STEP_DIMS_MISMATCH = "step-dims-mismatch", "tensors keep their dims from step to step"
    TOKENIZER_INPUT_UNKNOWN = (
        "tokenizer-input-unknown",
        "a tokenizer's tensors are mapped only to models that accept them",
    )
    TOKENIZER_INPUT_MISSING = "tokenizer-input-missing", "a tokenizer produces all the tensors that the model needs"


@dataclass(frozen=True, slots=True)
class Named:
    """A step of a field path: the message whose field `field` is `text`."""

    text: str
    field: str = "name"


Step = str | int | Named  # a field's name, the index of a value, or the value with a given name
FieldPath = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; its `str` is the text for clients and logs, in Triton's words.

    `path` is the field of the configuration that it is about, () for none in particular; `fix` says what to do. `entry`
    is the complete `field: value` to write at `path`, if that is the whole fix. `subject` is a name for the advice to
    mention, such as that of a missing package.
    """

    rule: Rule
    text: str
    path: FieldPath = ()
    fix: str = ""
    entry: str = ""
    subject: str = ""

    def __str__(self) -> str:
        return self.text
