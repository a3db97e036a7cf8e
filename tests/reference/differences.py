"""Every intended difference from the reference server (Triton 2.51), in one place, each with its reason.

A key is a pattern over case ids (`fnmatch`), `http:` or `grpc:` before it. The comparison fails for a difference that
is not listed, and for a listed one that no longer exists.

Three differences touch many cases and are taken out before answers are compared (answers.py):

- Errors and empty answers: Triton labels the JSON of some errors text/plain, and empty bodies too. Slipway labels
  every JSON error application/json, as the KServe specification has it, and gives an empty body no type.
- FP32 in JSON: Triton prints the nearest double (0.10000000149011612), Slipway the shortest text that is the same
  FP32 (0.1). Numbers are compared as FP32.
- Paths: a model's traceback names its file relative to the model, not by the server's absolute path.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

_ENSEMBLE = (
    "Triton 2.51 adds sequence_id, sequence_start and sequence_end with their zero values to the answers of ensembles "
    "that no sequence is used with; they say nothing."
)
_JSON_SYNTAX = "JSON that cannot be parsed is told in the words of the parser in use, after Triton's own prefix."
_SHARED_MEMORY = (
    "Client shared memory is not there yet: Triton's text for a server that has it switched off names a flag, which "
    "Slipway refuses."
)
_METADATA = "Each server states its own version, and Slipway announces only the extensions that it has."
_BATCH_ORDER = (
    "Triton holds inputs against each other in the order of a hash table, Slipway in the order they were sent; the "
    "input that is named may be the other one, and a missing batch dimension is explained first."
)
_EMPTY_BATCH = "A batch of no rows is answered with no rows; Triton 2.51 counts its bytes as if it had one row."
_BYTES = "A string that is longer than what was sent is named as such; Triton 2.51 only counts the elements before it."
_HEADER = "A header length that is not a number is refused as one; Triton 2.51 reads as many digits as there are."
_GENERATE = "An error has the status of its code on every route; Triton 2.51 answers 200 or 400 here."

DIFFERENCES: dict[str, str] = {
    "http:get /v2": _METADATA,
    "grpc:server metadata": _METADATA,
    "http:config *chain": "Slipway reads today's ModelConfig, which has ensemble_scheduling.max_inflight_requests.",
    "http:chain": _ENSEMBLE,
    "http:chain two rows": _ENSEMBLE,
    "http:chain requested": _ENSEMBLE,
    "http:moody chain 0": _ENSEMBLE,
    "grpc:* chain": _ENSEMBLE,
    "grpc:* moody chain 0": _ENSEMBLE,
    "http:empty /v2/models/pair/infer": (
        "An empty body is no JSON; Triton 2.51 takes it for a raw binary request that was not asked for."
    ),
    "http:empty /v2/models/pair/generate*": _JSON_SYNTAX,
    "http:index no json": _JSON_SYNTAX,
    "http:load bad json": _JSON_SYNTAX,
    "http:generate no json": _JSON_SYNTAX,
    "http:json no json": _JSON_SYNTAX,
    "http:json cut": _JSON_SYNTAX,
    "http:json trailing": _JSON_SYNTAX,
    "http:header length '1'": _JSON_SYNTAX,
    "http:header length '195'": _JSON_SYNTAX,
    "http:json not utf8": "JSON is UTF-8 (RFC 8259, 8.1); Triton 2.51 does not look.",
    "http:json inputs of numbers": "An input that is no object has no name, which is the first thing looked for.",
    "http:named index": "A named repository is refused on every route that takes one; Triton 2.51 ignores it here.",
    "http:FP16 empty": "FP16 in JSON is refused when it is read, also where there are no elements to read.",
    "http:FP16 scalar data": "FP16 in JSON is refused before its shape is looked at.",
    "http:FP16 binary in json out": "The text names the output; Triton 2.51 leaves the name out.",
    "http:BYTES too few": "Strings in JSON that do not fit the shape are refused as all other types are.",
    "http:BYTES too many": "Strings in JSON that do not fit the shape are refused as all other types are.",
    "http:input shape huge": "A shape whose element count overflows is refused before anything is made of it.",
    "http:input shared memory*": _SHARED_MEMORY,
    "http:output shared memory": _SHARED_MEMORY,
    "grpc:* shared memory": _SHARED_MEMORY,
    "http:output twice": "Newer Triton refuses an output that is asked for twice; 2.51 answers it once.",
    "http:one input too many": "Triton 2.51 lists the inputs in a hash table's order and prints a stray bracket.",
    "http:no batch dimension": _BATCH_ORDER,
    "http:batch mismatch": _BATCH_ORDER,
    "grpc:* batch mismatch": _BATCH_ORDER,
    "grpc:* huge shape": _BATCH_ORDER,
    "http:batch of none": _EMPTY_BATCH,
    "grpc:* batch of none": _EMPTY_BATCH,
    "http:optional missing required": (
        "A required input is required; Triton 2.51 only counts the inputs and runs the model without it."
    ),
    "http:header length 'abc'": _HEADER,
    "http:header length ''": _HEADER,
    "http:header length '1.5'": _HEADER,
    "http:bytes lying prefix": _BYTES,
    "http:bytes cut element": _BYTES,
    "grpc:* bytes lying": _BYTES,
    "http:broken gzip": "Damaged compressed data is named as such; Triton 2.51 goes on with what it could unpack.",
    "http:cut gzip": "Compressed data that is cut short is refused; Triton 2.51 goes on with what it could unpack.",
    "http:generate*two dimensions": "Nested lists are flattened, as in every other JSON tensor of the protocol.",
    "http:generate repeat none": _GENERATE,
    "http:generate repeat three": _GENERATE,
    "http:generate moody": _GENERATE,
    "grpc:bad with true error": (
        "`triton_grpc_error` ends the stream with a true status, as documented; Triton 2.51 does not know it."
    ),
}


def reason(case: str) -> str | None:
    """Return why `case` may differ, or None."""
    return next((why for pattern, why in DIFFERENCES.items() if fnmatchcase(case, pattern)), None)
