"""What can be wrong with a model or a repository: the rules, and the problem that breaks one.

A `Problem` is made where it is found, with its rule, its text, the field it is about and what to do. An error carries
it (errors.py), the linter gives it a place in a file, `slipway verify` advises by its rule: nobody reads texts back.
The rules are a closed set, named here and nowhere else. Knows neither files nor who finds what.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Self


class Rule(StrEnum):
    """An id that a problem or a finding may bear, with what the rule says in one sentence."""

    sentence: str

    def __new__(cls, name: str, sentence: str) -> Self:
        """Return the member `name`, which says `sentence`."""
        rule = str.__new__(cls, name)
        rule._value_ = name
        rule.sentence = sentence
        return rule

    # the text
    CONFIG_UNREADABLE = "config-unreadable", "config.pbtxt can be opened and is UTF-8 text of a sensible size"
    SYNTAX_ERROR = "syntax-error", "config.pbtxt is protobuf text format with values of the right kind"
    UNKNOWN_FIELD = "unknown-field", "every field is one that ModelConfig has"
    UNKNOWN_VALUE = "unknown-value", "every word is one that its field knows, such as TYPE_FP32"
    TEMPLATE_UNFILLED = "template-unfilled", "no ${...} of a template is left"
    # directories and files
    NO_MODELS = "no-models", "the repository holds at least one model"
    STRAY_DIRECTORY = "stray-directory", "every directory of the repository is a model"
    DIRECTORY_NAME_BLANK = "directory-name-blank", "no directory's name begins or ends with a blank"
    NAME_NOT_DIRECTORY = "name-not-directory", "a model's name is its directory's name"
    VERSION_MISSING = "version-missing", "there is a version directory for the version policy to serve"
    VERSION_IGNORED = "version-ignored", "version directories are called by a number without leading zeros"
    VERSION_EMPTY = "version-empty", "a version directory holds the model's files; only an ensemble's may be empty"
    FILE_MISSING = "file-missing", "the file that the backend opens lies in each version that is served"
    FILE_UNREADABLE = "file-unreadable", "files and directories may be read by the one who checks"
    LABEL_FILE_MISSING = "label-file-missing", "label files exist and are text"
    LABEL_COUNT = "label-count", "a label file has one line for each element of its output"
    # platform and backend
    PLATFORM_BACKEND = "platform-backend", "platform and backend are told and go together"
    BACKEND_UNKNOWN = "backend-unknown", "the backend is one that this server has"
    BACKEND_NOT_INSTALLED = "backend-not-installed", "the library that the backend needs is installed"
    COMPLETION_FAILED = "completion-failed", "what the config leaves out can be completed from the model"
    # what Triton's own validation asks
    FIELD_MISSING = "field-missing", "required fields are set"
    DIMS_INVALID = "dims-invalid", "sizes are at least 1, or -1 for a variable one"
    RESHAPE_MISMATCH = "reshape-mismatch", "dims and reshape hold as many elements"
    TENSOR_DECLARED_TWICE = "tensor-declared-twice", "a tensor is declared once"
    MAX_BATCH_SIZE_NEGATIVE = "max-batch-size-negative", "max_batch_size is not negative"
    PREFERRED_SIZE_NOT_POSITIVE = "preferred-size-not-positive", "preferred batch sizes are positive"
    PREFERRED_SIZE_ABOVE_MAX = "preferred-size-above-max", "preferred batch sizes are at most max_batch_size"
    PRIORITY_LEVELS = "priority-levels", "priority levels are in the range that the config gives"
    PRESERVE_ORDERING = "preserve-ordering", "preserve_ordering goes with one priority level and no delayed requests"
    SEQUENCE_BATCHING = "sequence-batching", "sequence batching has the control tensors and states that it needs"
    BATCH_TENSORS = "batch-tensors", "batch_input and batch_output name tensors of the model, in kinds that fit"
    LENGTH_BATCHING = "length-batching", "batching by length has pad values and limits that fit the tensors"
    RESPONSE_CACHE = "response-cache", "the response cache is asked for where it can work"
    INSTANCE_GROUP = "instance-group", "an instance group's kind, gpus and profiles go together"
    LIMIT_EXCEEDED = "limit-exceeded", "counts and sizes are within what one machine can hold"
    FILE_OUTSIDE = "file-outside", "files lie inside the model's directory"
    TENSORRT_ONLY = "tensorrt-only", "words that only TensorRT knows are not used elsewhere"
    INPUT_FORMAT = "input-format", "images in NHWC or NCHW have 3 dims"
    NOT_OFFERED = "not-offered", "no model needs what this version does not offer"
    WITHOUT_EFFECT = "without-effect", "every setting has an effect here"
    REPOSITORY_AGENT = "repository-agent", "no repository agent is asked for"
    PARAMETER_INVALID = "parameter-invalid", "parameters have values that the backend can use"
    CONFIG_INVALID = "config-invalid", "anything else that keeps a config from being served"
    # what one config says, legal or not
    PREFERRED_SIZE_UNSORTED = "preferred-size-unsorted", "preferred batch sizes ascend, each once"
    BATCHING_WITHOUT_MAX_BATCH_SIZE = "batching-without-max-batch-size", "dynamic batching goes with a max_batch_size"
    INSTANCE_COUNT = "instance-count", "an instance group has at least one instance"
    GPU_ON_CPU_HOST = "gpu-on-cpu-host", "no GPU is asked for on a machine without one"
    NO_DYNAMIC_BATCHING = "no-dynamic-batching", "a model that takes batches is given some"
    OUTPUT_UNTRIMMED = "output-untrimmed", "with batching by length, outputs that vary in length lose the padding"
    THREADS_OVER_CORES = "threads-over-cores", "instances times threads is at most the number of cores"
    TENSORS_UNDECLARED = "tensors-undeclared", "a model has at least one input and one output"
    # the model file itself
    GRAPH_UNREADABLE = "graph-unreadable", "the model file can be opened"
    TENSOR_NOT_IN_GRAPH = "tensor-not-in-graph", "declared tensors exist in the model file"
    INPUT_COUNT = "input-count", "every input of the model file is declared"
    DATATYPE_NOT_GRAPH = "datatype-not-graph", "declared data types are those of the model file"
    DIMS_NOT_GRAPH = "dims-not-graph", "declared dims are those of the model file"
    DIMS_UNKNOWN = "dims-unknown", "tensors whose shape the model file does not state have it in the config"
    BATCH_AXIS_FIXED = "batch-axis-fixed", "with a max_batch_size, the model file's first axis is variable"
    OPTIONAL_INPUT = "optional-input", "inputs of batching ONNX models are not optional"
    # across models
    ENSEMBLE_FIELD = "ensemble-field", "an ensemble has no settings that only models with instances have"
    ENSEMBLE_BATCH_SIZE = "ensemble-batch-size", "an ensemble's max_batch_size is at most that of each of its models"
    STEP_MODEL_MISSING = "step-model-missing", "the models of an ensemble's steps exist"
    ENSEMBLE_CYCLE = "ensemble-cycle", "no ensemble contains itself"
    TENSOR_CYCLE = "tensor-cycle", "no tensor of an ensemble depends on itself"
    TENSOR_UNUSED = "tensor-unused", "every tensor that is made or taken is used"
    TENSOR_NOT_PRODUCED = "tensor-not-produced", "every tensor that is used is made by a step or is an input"
    TENSOR_PRODUCED_TWICE = "tensor-produced-twice", "a tensor of an ensemble is made once"
    STEP_INPUT_UNKNOWN = "step-input-unknown", "steps give a model only inputs that it has"
    STEP_INPUT_UNMAPPED = "step-input-unmapped", "steps give a model every input that it needs"
    STEP_OUTPUT_UNKNOWN = "step-output-unknown", "steps take from a model only outputs that it has"
    STEP_DATATYPE_MISMATCH = "step-datatype-mismatch", "tensors keep their data type from step to step"
    STEP_DIMS_MISMATCH = "step-dims-mismatch", "tensors keep their dims from step to step"
    TOKENIZER_INPUT_UNKNOWN = "tokenizer-input-unknown", "a tokenizer's tensors are given only to models that take them"
    TOKENIZER_INPUT_MISSING = "tokenizer-input-missing", "a tokenizer gives all the tensors that the model takes"


@dataclass(frozen=True, slots=True)
class Named:
    """A step of a path: the message whose field `field` has the text `text`."""

    text: str
    field: str = "name"


Step = str | int | Named  # a field's name, which of its values, or the value that bears a name
FieldPath = tuple[Step, ...]


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong; `str` of it is the text that a client or a log shows, in Triton's words.

    `path` is the field of the configuration that it is about, () where that is none in particular, `fix` what to do,
    in words. `entry` is the whole `field: value` that belongs at `path`, where writing it is all there is to do.
    `subject` is the name that advice repeats, such as that of a missing package.
    """

    rule: Rule
    text: str
    path: FieldPath = ()
    fix: str = ""
    entry: str = ""
    subject: str = ""

    def __str__(self) -> str:
        return self.text
