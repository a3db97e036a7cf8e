"""The linter's rules: every id that a finding may bear, with what it says in one sentence.

The table is what `slipway check --rules` prints and what the tests go through; the rules themselves stand in the
modules named in the headings.
"""

from __future__ import annotations

from typing import Final

RULES: Final[dict[str, str]] = {
    # the text; see syntax.py and reading.py
    "config-unreadable": "config.pbtxt can be opened and is UTF-8 text of a sensible size",
    "syntax-error": "config.pbtxt is protobuf text format with values of the right kind",
    "unknown-field": "every field is one that ModelConfig has",
    "unknown-value": "every word is one that its field knows, such as TYPE_FP32",
    "template-unfilled": "no ${...} of a template is left",
    # directories and files; see layout.py
    "no-models": "the repository holds at least one model",
    "stray-directory": "every directory of the repository is a model",
    "directory-name-blank": "no directory's name begins or ends with a blank",
    "name-not-directory": "a model's name is its directory's name",
    "version-missing": "there is a version directory for the version policy to serve",
    "version-ignored": "version directories are called by a number without leading zeros",
    "version-empty": "a version directory holds the model's files; only an ensemble's may be empty",
    "file-missing": "the file that the backend opens lies in each version that is served",
    "file-unreadable": "files and directories may be read by the one who checks",
    "label-file-missing": "label files exist and are text",
    "label-count": "a label file has one line for each element of its output",
    # platform and backend; see reading.py
    "platform-backend": "platform and backend are told and go together",
    "backend-unknown": "the backend is one that this server has",
    "backend-not-installed": "the library that the backend needs is installed",
    "completion-failed": "what the config leaves out can be completed from the model",
    # Triton's own validation; see texts.py
    "field-missing": "required fields are set",
    "dims-invalid": "sizes are at least 1, or -1 for a variable one",
    "reshape-mismatch": "dims and reshape hold as many elements",
    "tensor-declared-twice": "a tensor is declared once",
    "max-batch-size-negative": "max_batch_size is not negative",
    "preferred-size-not-positive": "preferred batch sizes are positive",
    "preferred-size-above-max": "preferred batch sizes are at most max_batch_size",
    "priority-levels": "priority levels are in the range that the config gives",
    "preserve-ordering": "preserve_ordering goes with one priority level and no delayed requests",
    "sequence-batching": "sequence batching has the control tensors and states that it needs",
    "batch-tensors": "batch_input and batch_output name tensors of the model, in kinds that fit",
    "length-batching": "batching by length has pad values and limits that fit the tensors",
    "response-cache": "the response cache is asked for where it can work",
    "instance-group": "an instance group's kind, gpus and profiles go together",
    "limit-exceeded": "counts and sizes are within what one machine can hold",
    "file-outside": "files lie inside the model's directory",
    "tensorrt-only": "words that only TensorRT knows are not used elsewhere",
    "input-format": "images in NHWC or NCHW have 3 dims",
    "repository-agent": "no repository agent is asked for",
    "config-invalid": "anything else that keeps a config from being served",
    # legal or not, what one config says; see settings.py
    "preferred-size-unsorted": "preferred batch sizes ascend, each once",
    "batching-without-max-batch-size": "dynamic batching goes with a max_batch_size",
    "instance-count": "an instance group has at least one instance",
    "gpu-on-cpu-host": "no GPU is asked for on a machine without one",
    "no-dynamic-batching": "a model that takes batches is given some",
    "output-untrimmed": "with batching by length, outputs that vary in length lose the padding",
    "threads-over-cores": "instances times threads is at most the number of cores",
    "tensors-undeclared": "a model has at least one input and one output",
    # the model file itself; see graph.py
    "graph-unreadable": "the model file can be opened",
    "tensor-not-in-graph": "declared tensors exist in the model file",
    "input-count": "every input of the model file is declared",
    "datatype-not-graph": "declared data types are those of the model file",
    "dims-not-graph": "declared dims are those of the model file",
    "batch-axis-fixed": "with a max_batch_size, the model file's first axis is variable",
    "optional-input": "inputs of batching ONNX models are not optional",
    # across models; see ensembles.py
    "ensemble-field": "an ensemble has no settings that only models with instances have",
    "ensemble-batch-size": "an ensemble's max_batch_size is at most that of each of its models",
    "step-model-missing": "the models of an ensemble's steps exist",
    "ensemble-cycle": "no ensemble contains itself",
    "tensor-cycle": "no tensor of an ensemble depends on itself",
    "tensor-unused": "every tensor that is made or taken is used",
    "tensor-not-produced": "every tensor that is used is made by a step or is an input",
    "tensor-produced-twice": "a tensor of an ensemble is made once",
    "step-input-unknown": "steps give a model only inputs that it has",
    "step-input-unmapped": "steps give a model every input that it needs",
    "step-output-unknown": "steps take from a model only outputs that it has",
    "step-datatype-mismatch": "tensors keep their data type from step to step",
    "step-dims-mismatch": "tensors keep their dims from step to step",
    "tokenizer-input-unknown": "a tokenizer's tensors are given only to models that take them",
    "tokenizer-input-missing": "a tokenizer gives all the tensors that the model takes",
}
