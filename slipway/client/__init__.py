"""Clients of servers that speak KServe's v2 protocol, over gRPC and HTTP: `slipway.Client`, `slipway.AsyncClient`."""
