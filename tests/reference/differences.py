"""Every intended difference from the reference server (Triton 2.51), with its reason.

A key of `DIFFERENCES` is `http:` or `grpc:` and a pattern for case ids (`fnmatch`). The comparison fails for a
difference that is not listed, and for a listed difference that no longer exists. `FORESEEN`
(foreseen.py) lists the same for requests that are generated (`tests/reference/fuzz`).

Three differences affect many cases and are removed before responses are compared (answers.py):

- Errors and empty responses: Triton labels the JSON of some errors text/plain, and empty bodies too. Slipway labels
  every JSON error application/json, as the KServe specification requires, and an empty body has no content type.
- FP32 in JSON: Triton prints the nearest double (0.10000000149011612), Slipway the shortest text with the same FP32
  value (0.1). Numbers are compared as FP32.
- Paths: a model's traceback names its file relative to the model, not with the server's absolute path.
"""

from __future__ import annotations

from fnmatch import fnmatchcase

ENSEMBLE = (
    "Triton 2.51 adds sequence_id, sequence_start and sequence_end with zero values to responses of ensembles, even "
    "without a sequence; they carry no information."
)
JSON_SYNTAX = "For JSON that cannot be parsed, the error is Triton's prefix and Slipway's own parser's message."
METADATA = "Each server reports its own version, and Slipway announces only the extensions that it has."
OPENAI = "Slipway answers OpenAI's API on the same port; Triton has it in a server of its own."
PAGE = "Slipway serves a page for people at /, on the same port."
BATCH_ORDER = (
    "Triton compares inputs in the order of a hash table, Slipway in the order in which they were sent, so the error "
    "may name the other input; a missing batch dimension is explained first."
)
EMPTY_BATCH = "A batch of zero rows gets zero rows; Triton 2.51 checks its byte size as if it had one row."
BYTES = "A string that exceeds the sent data is reported as such; Triton 2.51 only counts the elements before it."
HEADER = "A header length that is not a number is refused; Triton 2.51 parses only its leading digits."
GENERATE = "An error has its code's status on every route; Triton 2.51 sends 200 or 400 here."

TWICE = (
    "A key given twice in one object is refused: Triton takes the first, other parsers the last, so what a gateway has "
    "checked may not be what runs."
)
UNKNOWN_SIZE = (
    "Negative dimensions are refused by their shape; Triton 2.51 multiplies them into a byte count and compares that."
)

# Compared in test_sequences.py.
SEQUENCE_IDS = (
    "An id whose type is not that of the control input for ids is refused, as in Triton 2.73; Triton 2.51 passes it on "
    "in the wrong type."
)

DIFFERENCES: dict[str, str] = {
    "http:get /v2": METADATA,
    "http:get /v1/models": OPENAI,
    "http:get /": PAGE,
    "grpc:server metadata": METADATA,
    "http:config *chain": "Slipway reads the current ModelConfig, which has ensemble_scheduling.max_inflight_requests.",
    "http:chain": ENSEMBLE,
    "http:chain two rows": ENSEMBLE,
    "http:chain requested": ENSEMBLE,
    "http:moody chain 0": ENSEMBLE,
    "grpc:* chain": ENSEMBLE,
    "grpc:* moody chain 0": ENSEMBLE,
    "http:empty /v2/models/pair/infer": (
        "An empty body is not JSON; Triton 2.51 treats it as a raw binary request that the client did not make."
    ),
    "http:empty /v2/models/pair/generate*": JSON_SYNTAX,
    "http:index no json": JSON_SYNTAX,
    "http:load bad json": JSON_SYNTAX,
    "http:generate no json": JSON_SYNTAX,
    "http:json no json": JSON_SYNTAX,
    "http:json cut": JSON_SYNTAX,
    "http:json trailing": JSON_SYNTAX,
    "http:header length '1'": JSON_SYNTAX,
    "http:header length '195'": JSON_SYNTAX,
    "http:json not utf8": "JSON is UTF-8 (RFC 8259, 8.1); Triton 2.51 does not check this.",
    "http:json inputs of numbers": "An input that is not an object has no name, and Slipway looks for the name first.",
    "http:named index": "A named repository is refused on every route that accepts one; Triton 2.51 ignores it here.",
    "http:FP16 empty": "FP16 in JSON is refused when it is read, even if there are no elements.",
    "http:FP16 scalar data": "FP16 in JSON is refused before its shape is checked.",
    "http:FP16 binary in json out": "The text names the output; Triton 2.51 omits the name.",
    "http:BYTES too few": "Strings in JSON that do not fit the shape are refused, like all other types.",
    "http:BYTES too many": "Strings in JSON that do not fit the shape are refused, like all other types.",
    "http:input shape huge": "A shape with an overflowing element count is refused before it is used.",
    "http:output twice": "Newer Triton refuses an output that is requested twice; 2.51 sends it once.",
    "http:one input too many": "Triton 2.51 lists the inputs in a hash table's order and prints a stray bracket.",
    "http:no batch dimension": BATCH_ORDER,
    "http:batch mismatch": BATCH_ORDER,
    "grpc:* batch mismatch": BATCH_ORDER,
    "grpc:* huge shape": BATCH_ORDER,
    "grpc:* unknown size [[]-1, 2]": UNKNOWN_SIZE,
    "http:batch of none": EMPTY_BATCH,
    "grpc:* batch of none": EMPTY_BATCH,
    "http:optional missing required": (
        "A missing required input is refused; Triton 2.51 only counts the inputs and runs the model without it."
    ),
    "http:header length 'abc'": HEADER,
    "http:header length ''": HEADER,
    "http:header length '1.5'": HEADER,
    "http:bytes lying prefix": BYTES,
    "http:bytes cut element": BYTES,
    "grpc:* bytes lying": BYTES,
    "http:broken gzip": "Damaged compressed data is refused; Triton 2.51 continues with the data that it could unpack.",
    "http:cut gzip": "Truncated compressed data is refused; Triton 2.51 continues with the data that it could unpack.",
    "http:generate*two dimensions": "Nested lists are flattened, as in every other JSON tensor of the protocol.",
    "http:odd generate empty": BATCH_ORDER,
    "http:odd half *": JSON_SYNTAX,
    "http:odd generate half a document": JSON_SYNTAX,
    "http:odd inputs twice": TWICE,
    "http:odd id twice": TWICE,
    "http:odd index twice": TWICE,
    "http:generate repeat none": GENERATE,
    "http:generate repeat three": GENERATE,
    "http:generate moody": GENERATE,
    "grpc:bad with true error": (
        "`triton_grpc_error` ends the stream with a gRPC status, as documented; Triton 2.51 does not support it."
    ),
}


_RESERVED_KEY = (
    "Newer Triton refuses keys of slashes and those of its own regions before it opens anything; 2.51 does not."
)
_CUT_SUM = (
    "The sum of offset and size is compared without overflow; Triton cuts it to 64 bits and cannot map the region."
)
_SUM = "Newer Triton compares the sum of offset and size without overflow; 2.51 cuts it to 64 bits."
_EMPTY_PLACE = (
    "Newer Triton allows a place of 0 bytes, which then does not fit the tensor; 2.51 cannot tell it from an overflow."
)

# The same for the cases in region_cases.py. What newer Triton does is known from its source (2.73).
REGION_DIFFERENCES: dict[str, str] = {
    "*:register key ''": _RESERVED_KEY,
    "*:register key '/'": _RESERVED_KEY,
    "*:register key '///'": _RESERVED_KEY,
    "*:register key 'triton_python_backend_shm_region_'": _RESERVED_KEY,
    "*:register key '/*triton_python_backend_shm_region_x'": _RESERVED_KEY,
    "*:register 32 bytes at 18446744073709551584": _CUT_SUM,
    "*:register 1 bytes at 18446744073709551615": _CUT_SUM,
    "*:register a second one of the same memory": (
        "The same memory can be registered twice, as in newer Triton; 2.51 uses a descriptor that it has closed."
    ),
    "http:register with no body": "Newer Triton takes an empty body for an empty object; 2.51 cannot parse it.",
    "*:*put empty*": _EMPTY_PLACE,
    "http:*put without size*": _EMPTY_PLACE,
    "http:*put with the region alone*": _EMPTY_PLACE,
    "http:*put with 2^64 - 32 bytes*": _SUM,
    "grpc:*put with a negative size and an offset*": _SUM,
}


def region_reason(case: str) -> str | None:
    """Return why a case of shared memory may differ, or None."""
    return next((why for pattern, why in REGION_DIFFERENCES.items() if fnmatchcase(case, pattern)), None)


def reason(case: str) -> str | None:
    """Return why `case` may differ, or None."""
    return next((why for pattern, why in DIFFERENCES.items() if fnmatchcase(case, pattern)), None)
