"""Send `transformer_example` ten requests, two at a time, and print the answers.

pip install "tritonclient[http]"
HTTP_PORT=8000 python transformer_client_example.py
"""

from __future__ import annotations

import os

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

MODEL = "transformer_example"
CALLS = 10
CONCURRENCY = 2
ROW = [324, 423, 5413, 1314, 1451, 4134, 946, 1467]


def main() -> None:
    """Send the requests, then print the answers in the same order."""
    rows = np.array([ROW, ROW], np.int32)
    source = InferInput("source_ids", list(rows.shape), "INT32")
    source.set_data_from_numpy(rows)
    wanted = [InferRequestedOutput("target_ids"), InferRequestedOutput("target_scores")]
    with InferenceServerClient(f"localhost:{os.environ['HTTP_PORT']}", concurrency=CONCURRENCY) as client:
        calls = [client.async_infer(MODEL, [source], outputs=wanted) for _ in range(CALLS)]
        for call in calls:
            answer = call.get_result()
            print("target_ids: ", answer.as_numpy("target_ids"))
            print("target_scores: ", answer.as_numpy("target_scores"))


if __name__ == "__main__":
    main()
