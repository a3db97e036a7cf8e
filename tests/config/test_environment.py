"""The environment variables of Triton are honoured, or named if they are set and have no effect."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import slipway
from slipway.config.environment import ENVIRONMENT, environment_warnings
from slipway.config.support import Support

SOURCE = Path(slipway.__file__).parent
# The variables that Triton reads as an API: its server, core, Python backend and Redis cache.
TRITON = """
    TRITONSERVER_DELAY_SCHEDULER TRITONSERVER_BACKLOG_DELAY_SCHEDULER TRITONSERVER_DELAY_GRPC_RESPONSE
    TRITONSERVER_DELAY_GRPC_COMPLETE TRITONSERVER_DELAY_GRPC_PROCESS TRITONSERVER_DELAY_GRPC_PROCESS_ENTRY
    TRITONSERVER_DELAY_GRPC_NOTIFICATION TRITONSERVER_DELAY_GRPC_ENQUEUE TRITONSERVER_DELAY_RESPONSE_COMPLETE_EXEC
    TRITONSERVER_DELAY_RESPONSE_COMPLETION TRITONSERVER_SERVER_DELAY_GRPC_RESPONSE_SEC TRITON_SERVER_CPU_ONLY
    TRITON_PARALLEL_INSTANCE_LOADING TRITON_SERVER_ESCAPE_LOG_MESSAGES TRITON_CLOUD_CREDENTIAL_PATH
    TRITON_AWS_MOUNT_DIRECTORY TRITON_GCS_MOUNT_DIRECTORY TRITON_AZURE_MOUNT_DIRECTORY AZURE_STORAGE_* AWS_*
    GOOGLE_APPLICATION_CREDENTIALS AIP_MODE AIP_HTTP_PORT AIP_PREDICT_ROUTE AIP_HEALTH_ROUTE AIP_STORAGE_URI
    SAGEMAKER_TRITON_DEFAULT_MODEL_NAME SAGEMAKER_TRITON_INFERENCE_TYPE SAGEMAKER_TRITON_PING_MODE OTEL_BSP_*
    TRITONCACHE_REDIS_USERNAME TRITONCACHE_REDIS_PASSWORD
""".split()


def strings_of_the_source():
    """Return every string in Slipway's code, except in the table itself."""
    return {
        node.value
        for path in SOURCE.rglob("*.py")
        if path != SOURCE / "config" / "environment.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }


def test_every_variable_of_triton_has_a_row():
    assert set(ENVIRONMENT) == set(TRITON)


def test_a_variable_is_read_if_and_only_if_its_row_says_that_it_works():
    strings = strings_of_the_source()
    single = [name for name in ENVIRONMENT if not name.endswith("*")]
    assert {name for name in single if ENVIRONMENT[name].support is Support.WORKS} == strings & set(single)


@pytest.mark.parametrize("name", [name for name in ENVIRONMENT if not name.endswith("*")])
def test_a_variable_without_effect_is_named_once_when_it_is_set(name):
    row = ENVIRONMENT[name]
    said = list(environment_warnings({name: "1", "PATH": "/bin"}))
    named = row.support is not Support.WORKS and not row.quiet
    assert said == ([f"the environment variable {name} has no effect: {row.note}"] if named else [])
