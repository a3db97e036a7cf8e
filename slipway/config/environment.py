"""The environment variables that Triton reads as an API, with what this server does about each.

Variables of other programs that Triton only passes on are not here. A name that ends in `*` stands for a family. What
has no effect is reported at the start, unless it is usually set for other reasons. Source: Triton's server, core and
backends (`getenv`), and its tests. Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from slipway.config.support import Support


@dataclass(frozen=True, slots=True)
class EnvironmentRow:
    """What the server does about one variable; `note` says what it is for, or why it has no effect. A `quiet` row is
    not reported: platforms set the variable whether or not somebody wants its effect."""

    support: Support
    note: str
    quiet: bool = False


def _works(note: str) -> EnvironmentRow:
    return EnvironmentRow(Support.WORKS, note)


def _ignored(note: str, *, quiet: bool = False) -> EnvironmentRow:
    return EnvironmentRow(Support.WITHOUT_EFFECT, note, quiet)


_GRPC_STATES: Final = "it slows down a step of Triton's gRPC code, which is not part of this server"
_RESPONSES: Final = "it slows down a step of Triton's responses, which is not part of this server"

ENVIRONMENT: Final[dict[str, EnvironmentRow]] = {
    "TRITON_SERVER_ESCAPE_LOG_MESSAGES": _works("`0` writes log messages as they are, instead of as JSON strings"),
    "TRITON_SERVER_CPU_ONLY": _ignored("GPU metrics, which it turns off, are not collected", quiet=True),
    "TRITON_PARALLEL_INSTANCE_LOADING": _ignored("each backend decides whether it opens instances at the same time"),
    "TRITONCACHE_REDIS_USERNAME": _works("user of `--cache-config=redis,...`, if the flag does not name one"),
    "TRITONCACHE_REDIS_PASSWORD": _works("its password"),
    "TRITONSERVER_DELAY_SCHEDULER": _works("after a load, requests for batches and sequences wait until there are N"),
    "TRITONSERVER_BACKLOG_DELAY_SCHEDULER": _works("requests of sequences wait until the backlog has N"),
    "TRITONSERVER_DELAY_GRPC_RESPONSE": _ignored(_GRPC_STATES),
    "TRITONSERVER_DELAY_GRPC_COMPLETE": _ignored(_GRPC_STATES),
    "TRITONSERVER_DELAY_GRPC_PROCESS": _ignored(_GRPC_STATES),
    "TRITONSERVER_DELAY_GRPC_PROCESS_ENTRY": _ignored(_GRPC_STATES),
    "TRITONSERVER_DELAY_GRPC_NOTIFICATION": _ignored(_GRPC_STATES),
    "TRITONSERVER_DELAY_GRPC_ENQUEUE": _ignored(_GRPC_STATES),
    "TRITONSERVER_SERVER_DELAY_GRPC_RESPONSE_SEC": _ignored(_GRPC_STATES),
    "TRITONSERVER_DELAY_RESPONSE_COMPLETE_EXEC": _ignored(_RESPONSES),
    "TRITONSERVER_DELAY_RESPONSE_COMPLETION": _ignored(_RESPONSES),
    "TRITON_CLOUD_CREDENTIAL_PATH": _works("JSON file with credentials by repository, instead of the variables below"),
    "TRITON_AWS_MOUNT_DIRECTORY": _works("where copies of `s3://` repositories are kept"),
    "TRITON_GCS_MOUNT_DIRECTORY": _works("where copies of `gs://` repositories are kept"),
    "TRITON_AZURE_MOUNT_DIRECTORY": _works("where copies of `as://` repositories are kept"),
    "AWS_*": _works("credentials and region of `s3://` repositories"),
    "AZURE_STORAGE_*": _works("credentials of `as://` repositories"),
    "GOOGLE_APPLICATION_CREDENTIALS": _works("credentials of `gs://` repositories"),
    "OTEL_BSP_*": _works("sizes of the batches of `--trace-config=mode=opentelemetry`, if the flag does not set them"),
    "AIP_MODE": _works("`PREDICTION` turns Vertex AI on, and HTTP and gRPC off"),
    "AIP_HTTP_PORT": _works("the port of `--allow-vertex-ai`, if `--vertex-ai-port` does not name one"),
    "AIP_PREDICT_ROUTE": _works("the path of Vertex AI's predictions"),
    "AIP_HEALTH_ROUTE": _works("the path of Vertex AI's health checks"),
    "AIP_STORAGE_URI": _works("the model repository of Vertex AI, if `--model-repository` does not name one"),
    "SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": _works("the model that SageMaker's `/invocations` runs"),
    "SAGEMAKER_TRITON_INFERENCE_TYPE": _works("what `/invocations` does: `infer`, `generate` or `generate_stream`"),
    "SAGEMAKER_TRITON_PING_MODE": _works("what SageMaker's `/ping` reports: `ready` or `live`"),
}


def environment_warnings(environment: Mapping[str, str]) -> Iterator[str]:
    """Yield one message for each variable of `environment` that Triton would act on and this server does not."""
    for name, row in ENVIRONMENT.items():
        if name in environment and row.support is not Support.WORKS and not row.quiet:
            yield f"the environment variable {name} has no effect: {row.note}"
