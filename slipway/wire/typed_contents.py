"""The fields of InferTensorContents, in which gRPC messages carry tensors that are not raw. Pure.

Source: KServe v2, grpc_predict_v2.proto.
"""

from __future__ import annotations

from typing import Final

# Field -> the datatypes that it carries; errors name the last one.
TYPED_FIELDS: Final = (
    ("bool_contents", ("BOOL",)),
    ("int_contents", ("INT8", "INT16", "INT32")),
    ("int64_contents", ("INT64",)),
    ("uint_contents", ("UINT8", "UINT16", "UINT32")),
    ("uint64_contents", ("UINT64",)),
    ("fp32_contents", ("FP32",)),
    ("fp64_contents", ("FP64",)),
    ("bytes_contents", ("BYTES",)),
)
# Datatype -> its field; FP16 and BF16 are always raw.
FIELD_OF: Final = {datatype: field for field, datatypes in TYPED_FIELDS for datatype in datatypes}
