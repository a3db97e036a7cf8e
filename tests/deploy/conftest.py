"""The server with which the deployment files are compared."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

import numpy as np
import pytest
import tritonclient.http

from benchmarks.serving import RunningServer, running_server
from tests.kits.calls import infer
from tests.kits.repositories import write_config

CONFIG = """backend: "identity"
max_batch_size: 4
input { name: "INPUT0" data_type: TYPE_INT64 dims: [ -1 ] }
output { name: "OUTPUT0" data_type: TYPE_INT64 dims: [ -1 ] }
"""
MODELS = {  # what makes a family of metrics appear
    "cached": "response_cache { enable: true }",
    "padded": """dynamic_batching { }
parameters { key: "LENGTH_BATCHING_PAD_VALUES" value { string_value: "INPUT0=0" } }
parameters { key: "LENGTH_BATCHING_TRIM_OUTPUTS" value { string_value: "OUTPUT0.0=INPUT0.0" } }""",
}


@pytest.fixture(scope="session")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server that reports every family of metrics, and has answered and refused requests to each of its models."""
    repository = tmp_path_factory.mktemp("models")
    for name, more in MODELS.items():
        write_config(repository, name, CONFIG + more)
    trace = tmp_path_factory.mktemp("traces") / "trace"
    flags = ("--metrics-config=summary_latencies=true", "--cache-config=local,size=1048576")
    tracing = ("--trace-config=level=TIMESTAMPS", "--trace-config=rate=1", f"--trace-config=triton,file={trace}")
    with running_server(repository, *flags, *tracing) as running:
        with tritonclient.http.InferenceServerClient(running.http) as client:
            for name in [*MODELS, *MODELS]:
                infer(client, name, {"INPUT0": np.ones((2, 3), np.int64)}, "OUTPUT0")
        for name in MODELS:
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(f"http://{running.http}/v2/models/{name}/infer", b'{"inputs": []}', timeout=20)
            refused.value.close()
        yield running
