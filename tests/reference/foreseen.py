"""The intended differences that occur in generated requests, with the reason for each.

`DIFFERENCES` lists those of fixed cases by their ids; here, patterns of the texts take the place of ids. The first row
that matches explains a difference.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from tests.reference.differences import (
    BATCH_ORDER,
    DIFFERENCES,
    EMPTY_BATCH,
    ENSEMBLE,
    GENERATE,
    HEADER,
    JSON_SYNTAX,
    METADATA,
    PAGE,
    REGION_DIFFERENCES,
    TWICE,
    UNKNOWN_SIZE,
)
from tests.reference.models import CONTROLLED


@dataclass(frozen=True, slots=True)
class Foreseen:
    """An intended difference in the answers to generated requests, as patterns (`re.search`) of what distinguishes it.

    The answers are texts: the status, then the error or the content. `both` sees them in two lines, Slipway's first;
    `without` is what only one of them says, so that the rest must be the same.
    """

    name: str
    reason: str
    request: str = ""
    ours: str = ""
    theirs: str = ""
    both: str = ""
    without: str = ""
    faults: int = 0  # the fewest changes to a valid request with which it occurs

    def matches(self, request: str, ours: str, theirs: str, faults: int) -> bool:
        """Return whether this request with these answers is the difference."""
        pairs = ((self.request, request), (self.ours, ours), (self.theirs, theirs), (self.both, f"{ours}\n{theirs}"))
        return (
            not self.without
            and self.faults <= faults
            and all(re.search(pattern, text, re.DOTALL) for pattern, text in pairs)
        )


_SYNTAX = "failed to parse the request JSON buffer"

_REFUSED = r"([45]\d\d|[A-Z]+_ARGUMENT|NOT_FOUND|UNIMPLEMENTED|INTERNAL|UNAVAILABLE|STREAM \[.*error_message')"

_NO_SEQUENCE = (
    r"'sequence_end': (?:False|\{'bool_param': False\}), 'sequence_id': (?:0|\{'int64_param': '0'\}), "
    r"'sequence_start': (?:False|\{'bool_param': False\})"
)

FORESEEN: tuple[Foreseen, ...] = (
    Foreseen(
        "zero sequence of an ensemble",
        ENSEMBLE,
        without=rf", 'parameters': \{{{_NO_SEQUENCE}\}}(?=[,}}])|, {_NO_SEQUENCE}(?=\}})|{_NO_SEQUENCE}, ",
    ),
    Foreseen("max_inflight_requests", DIFFERENCES["http:config *chain"], without=r"'max_inflight_requests': 0, "),
    Foreseen(
        "state while unloading",
        "Unloading goes on after its answer; the index shows how far each server is.",
        request="/v2/repository/index|^RepositoryIndex",
        without=r"('reason': 'unloaded', )?'state': 'UN(LOADING|AVAILABLE)', ",
    ),
    Foreseen(
        "readiness after a failure",
        "A version that failed and is not wanted any more does not count; Triton 2.51 remembers it as not ready.",
        request=r"^ServerReady|^GET /v2/health/ready",
        ours=r"^(200|OK \{'ready': True)",
        theirs=r"^(400|OK \{\})",
    ),
    Foreseen(
        "reason after a failure",
        "A version that failed and was then unloaded is reported as unloaded.",
        request="/v2/repository/index|^RepositoryIndex",
        theirs="'reason': .?Internal",
    ),
    Foreseen(
        "figures of statistics",
        "Times differ, and Slipway counts requests that are refused, or answered with an error, as failures.",
        request="/stats|^ModelStatistics",
        without=r"'batch_stats': \[.*?\], (?='exec|'inf)|(, )?'(count|ns)': '?\d+'?"
        r"|'(execution_count|inference_count|last_inference)': '?\d+'?(, )?",
    ),
    Foreseen(
        "override kept",
        "An override of the configuration holds until the model is unloaded or its files change; in Triton 2.51 until "
        "the next load.",
        request=rf"^GET /v2/models/{CONTROLLED}/config",
        ours="'mark': ",
        theirs=r"'parameters': \{\}",
    ),
    Foreseen("page", PAGE, request=r"^\w+ /(\s|\?|$)", ours="^(200|405)", theirs="^40"),
    Foreseen(
        "reason of a refused override",
        "A configuration that contradicts itself is refused with the reason; Triton 2.51 only logs some reasons.",
        request="/load",
        ours=r"^400 load failed for model .*Invalid argument",
        theirs=r"^500 failed to load .*failed to poll from model repository",
    ),
    Foreseen(
        "KIND_GPU without a GPU",
        "A model that asks for a GPU runs on the CPU where there is none, so that its repository need not change.",
        request="/load",
        ours="^200",
        theirs="has kind KIND_GPU but no GPUs are available",
    ),
    Foreseen(
        "backend identity",
        "The backend `identity` is built in; the reference's installation has only `python`.",
        theirs="unable to find backend library for backend 'identity'",
    ),
    Foreseen(
        "NUL",
        "Triton passes ids, names and parameters as C strings, which a NUL character ends.",
        request=r'\b(id|name|string_param): "[^"]*\\000|"\w*":"[^"]*\\\\u0000',
    ),
    Foreseen(
        "binary_data_output",
        "`binary_data_output` holds for the outputs that a request names, as documented; in Triton 2.51 it does not.",
        ours=r"^200 .*'application/octet-stream'",
        theirs="^200 .*'data': |sending FP16",
    ),
    Foreseen(
        "binary output without elements",
        "A binary output without elements is sent in binary form too; Triton 2.51 sends JSON that calls it binary.",
        ours=r"^200 .*'application/octet-stream'.*'binary_data_size': 0",
        theirs=r"^200 .*'application/json'.*'binary_data_size': 0",
    ),
    Foreseen(
        "batches that differ",
        BATCH_ORDER,
        ours="unexpected shape|byte size mismatch|batch size does not match|string elements",
        theirs="batch size does not match other inputs",
    ),
    Foreseen(
        "strings too many",
        "The error names the number of strings; Triton 2.51 stops counting at the first one too many.",
        both=r"unexpected number of string elements \d+ .*\n.*unexpected number of string elements \d+ ",
    ),
    Foreseen(
        "spelling of a number",
        "A model sees a parameter as JSON, in which Python spells large numbers its own way.",
        request=r'(models/|model_name: ")parameters.*([eE][+-]?\d|\d{17})',
        ours="^(200|OK|STREAM)",
        theirs="^(200|OK|STREAM)",
    ),
    Foreseen(
        "classes beyond 32 bits",
        "A number of classes is read with 64 bits.",
        request=r'"classification":\d{10,}|int64_param: \d{10,}',
    ),
    Foreseen(
        "negative zero",
        "-0 is negative zero for a floating-point datatype; Triton 2.51 reads it as the integer 0.",
        request=r"[\[,:]-0[,\]}]",
        ours="^200",
    ),
    Foreseen("syntax", JSON_SYNTAX, ours=rf"^500 {_SYNTAX}", theirs=rf"^500 {_SYNTAX}"),
    Foreseen(
        "text after the document",
        "Triton 2.51 stops reading JSON at a NUL byte; what follows it is not JSON (RFC 8259, 2).",
        request=r"\\x00",
        ours=rf"^500 {_SYNTAX}",
    ),
    Foreseen("not UTF-8", DIFFERENCES["http:json not utf8"], ours=rf"^500 {_SYNTAX}: Invalid encoding in string"),
    Foreseen(
        "strings that are not UTF-8",
        "Strings that are not UTF-8 are refused in a JSON response; Triton 2.51 sends them as they are.",
        ours=r"^400 output .* contains bytes that are not UTF-8",
        theirs=r"^200 ",
    ),
    Foreseen("key given twice", TWICE, ours=r"^400 .* is given twice in one object"),
    Foreseen("input given twice in generate", TWICE, request="/generate", ours=r"^400 .*already exists in request"),
    Foreseen(
        "nesting",
        "Nesting is limited on every route, to the depth that newer Triton allows; 2.51 has no limit.",
        ours=r"^400 JSON nesting depth exceeds",
    ),
    Foreseen(
        "unknown setting",
        "An unknown setting or trace level is refused, with the nearest name; Triton ignores it.",
        ours=r"(unknown (trace|log) setting|invalid trace level|can not be updated through network protocol)",
        theirs=r"^(200|OK)",
    ),
    Foreseen(
        "number of a setting",
        "A text that only begins with a number, and a number out of range, is refused; Triton reads its beginning.",
        request=r"(trace/setting|TraceSetting)",
        ours=r"Unable to parse '(trace_rate|trace_count|log_frequency)'",
    ),
    Foreseen(
        "region without a name",
        "A region needs a name over gRPC too: the empty name stands for all regions. Triton asks only over HTTP.",
        request=r"^SystemSharedMemoryRegister",
        ours=r"^INVALID_ARGUMENT.*'region name' is necessary",
    ),
    Foreseen(
        "empty registration",
        REGION_DIFFERENCES["http:register with no body"],
        ours=r"^400 Shared memory register request has no 'key' field",
        theirs=r"The document is empty",
    ),
    Foreseen("server metadata", METADATA, ours=r"'extensions': ", theirs=r"'extensions': .*'version': '2\.51\.0'"),
    Foreseen(
        "entry that is not an object",
        DIFFERENCES["http:json inputs of numbers"],
        ours=r"^500 Unable to parse 'name': attempt to access non-existing",
        theirs=r"^400 Input must set only one of the following fields.*But no field is set",
    ),
    Foreseen(
        "sizes beyond 32 bits",
        "The elements of a shape are counted without overflow; Triton 2.51 counts them, and the rows, in 32 bits.",
        request=r'shape(: |":\[[^\]]*)-?\d{10,}',
        ours=r"batch-size must be|byte size mismatch|string elements|unexpected shape|batch size does not match",
    ),
    Foreseen(
        "FP16 in JSON",
        DIFFERENCES["http:FP16 empty"],
        ours=r"^400 receiving FP16 data via JSON is not supported",
    ),
    Foreseen(
        "name of an FP16 output",
        DIFFERENCES["http:FP16 binary in json out"],
        both=r"(sending FP16 data via JSON .* for output) \S+\n.*\1$",
    ),
    Foreseen(
        "shared memory keys without a region",
        "Of several faults in a tensor's parameters either may be reported: they are in no order.",
        both=r"(shared_memory_|classification).*\n.*(shared_memory_|classification)",
        request=r"parameters.*parameters",
        ours=_REFUSED,
        theirs=_REFUSED,
    ),
    Foreseen(
        "type of an unused shared memory parameter",
        "A known parameter has its type even where it is not used; Triton 2.51 checks some of them only when used.",
        both=r"500 Unable to parse 'shared_memory_(offset|byte_size)'",
    ),
    Foreseen("negative size", UNKNOWN_SIZE, request=r"shape: -", theirs=r"Expected -?\d+, got|string elements"),
    Foreseen(
        "damaged compression", DIFFERENCES["http:broken gzip"], ours=r"^400 failed to decompress the request body"
    ),
    Foreseen("required input", DIFFERENCES["http:optional missing required"], ours=r"missing required input"),
    Foreseen(
        "batch of none",
        EMPTY_BATCH,
        request=r'shape(":\[-?0,|: 0\b)',
        ours="Expected 0, got|OK|STREAM|^200|batch size|true shape",
    ),
    Foreseen(
        "number of strings",
        DIFFERENCES["http:BYTES too few"],
        request="BYTES",
        ours="true shape of 'data'",
        theirs="string elements|batch-size must be|unexpected shape",
    ),
    Foreseen(
        "version in an error",
        "A response names the version by its number; Triton 2.51 repeats the client's text in errors.",
        request=r'model_version: "(0\d|\+|\d+[^\d"]| )',
        ours="error_message",
        theirs="error_message",
    ),
    Foreseen(
        "classes of NaN",
        "NaN sorts last; in Triton 2.51 its place among the classes is undefined.",
        theirs=r"nan:\d",
    ),
    Foreseen(
        "integer out of range",
        "A number that its datatype cannot hold is refused; Triton 2.51 keeps its low bits.",
        ours=r"^400 .*is out of range for input",
    ),
    Foreseen(
        "number in an unread member",
        "A number in a member that nobody reads is not converted, so it may have any size.",
        theirs=rf"^500 {_SYNTAX}: Number too big to be stored in double",
    ),
    Foreseen(
        "unload_dependents of another type",
        "The body of an unload is checked like any other; Triton 2.51 unloads whatever it says.",
        request="/unload",
        ours=rf"^500 (Unable to parse 'unload_dependents'|{_SYNTAX})",
        theirs="^200",
    ),
    Foreseen(
        "base64",
        "A file's content that is not base64 is refused; Triton 2.51 decodes what it can.",
        ours=r"^400 failed to decode the base64 content",
    ),
    Foreseen("output requested twice", DIFFERENCES["http:output twice"], ours=r"^400 .*output '.*' already exists"),
    Foreseen(
        "data of a shape without elements",
        "Data that does not fit its shape is refused; Triton 2.51 does not read the data of a shape without elements.",
        request=r'"shape":\[(([^\]]*,)?-?0[,\]]|\])',
        ours=r"^500 Unable to parse",
    ),
    Foreseen("empty body", DIFFERENCES["http:empty /v2/models/pair/infer"], request=r"b''$", ours=rf"^500 {_SYNTAX}"),
    Foreseen("header length", HEADER, request=r"Content-Length: '(?!\d+')", ours=r"^400 inference header size"),
    Foreseen(
        "nested data in generate",
        DIFFERENCES["http:generate*two dimensions"],
        request=r"/generate.*\[ *(\[|[^\[\]]*, *\[)",
        theirs=r"Shape does not match true shape|can not convert input|string elements|to access JSON non-",
    ),
    Foreseen("empty input of generate", BATCH_ORDER, request="/generate", theirs=r"input byte size mismatch .*got 0$"),
    Foreseen(
        "elements before their number",
        "Of two faults in an input's data either may be reported: Slipway counts the elements before it converts them.",
        ours=r"^500 Unable to parse 'data': Shape does not match",
        theirs=r"^500 Unable to parse .*attempt to access JSON non-",
    ),
    Foreseen(
        "encoded name",
        "A model's name in a path is percent-decoded, as clients encode it; Triton 2.51 takes it as it stands.",
        request=r"^\w+ \S*%",
    ),
    Foreseen(
        "blank after a header's value",
        "A trailing blank is not part of a header's value (RFC 9110, 5.5); Triton 2.51 keeps it.",
        request=r"\n  [\w-]+: '[^']*[ \t]'",
    ),
    Foreseen("status in generate", GENERATE, request="/generate", both=r"^[45]\d\d ([^{]*[^ {])( \{.*)?\n(200|400) \1"),
    Foreseen("status in generate_stream", GENERATE, request="/generate", both=r"^[45]\d\d (\[.*)\n(200|400) \1$"),
    Foreseen(
        "texts cut",
        "A name, id or value in an error is cut at 256 characters, so that an error never repeats a whole request.",
        request=r"[^\s'\"]{257}",
        ours=rf"^{_REFUSED}.*\.\.\.|error_message.*\.\.\.",
        theirs=r"[^\s'\"]{257}",
    ),
    Foreseen(
        "ragged data",
        "A list that mixes values and lists is refused; Triton 2.51 flattens it.",
        request=r'[\w".}]\s*,\s*\[|\]\s*,\s*(-?\d|true|false|null|\[\s*[\[\]])|\]\s*\]\s*,\s*\[',
        ours=r"^500 Unable to parse .*Shape does not match true shape",
    ),
    Foreseen(
        "two faults",
        "Of two faults in a request either may be reported; only the order in which they are found differs.",
        ours=rf"^(?!500 internal error){_REFUSED}",
        theirs=f"^{_REFUSED}",
        faults=2,
    ),
)
