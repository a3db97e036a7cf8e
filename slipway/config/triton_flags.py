"""The flags of tritonserver: all others are Slipway's own. Source: `command_line_parser.cc` of version 2.73."""

from __future__ import annotations

from typing import Final

TRITON_FLAGS: Final = frozenset(
    """
    id exit-timeout-secs
    log-verbose log-info log-warning log-error log-format log-file
    model-store model-repository exit-on-error disable-auto-complete-config strict-model-config strict-readiness
    model-control-mode repository-poll-secs load-model model-config-name model-load-thread-count model-load-retry-count
    model-namespacing enable-peer-access allow-client-shm
    allow-http http-address http-port reuse-http-port http-header-forward-pattern http-thread-count http-restricted-api
    http-max-input-size
    allow-grpc grpc-address grpc-port reuse-grpc-port grpc-header-forward-pattern grpc-restricted-protocol
    grpc-infer-thread-count grpc-infer-allocation-pool-size grpc-max-response-pool-size grpc-use-ssl
    grpc-use-ssl-mutual grpc-server-cert grpc-server-key grpc-root-cert grpc-infer-response-compression-level
    grpc-keepalive-time grpc-keepalive-timeout grpc-keepalive-permit-without-calls grpc-http2-max-pings-without-data
    grpc-http2-min-recv-ping-interval-without-data grpc-http2-max-ping-strikes grpc-max-connection-age
    grpc-max-connection-age-grace
    allow-sagemaker sagemaker-port sagemaker-safe-port-range sagemaker-thread-count
    allow-vertex-ai vertex-ai-port vertex-ai-thread-count vertex-ai-default-model
    allow-metrics allow-gpu-metrics allow-cpu-metrics metrics-address metrics-port metrics-interval-ms metrics-config
    trace-config trace-file trace-level trace-rate trace-count trace-log-frequency
    backend-directory backend-config repoagent-directory
    cache-config cache-directory response-cache-byte-size
    rate-limit rate-limit-resource
    pinned-memory-pool-byte-size cuda-memory-pool-byte-size cuda-virtual-address-size min-supported-compute-capability
    buffer-manager-thread-count host-policy model-load-gpu-limit
    """.split()
)
