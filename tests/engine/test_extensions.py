"""`/v2` announces what the server has: no more, no less, in Triton's order."""

from __future__ import annotations

import pytest

from slipway.config.options import ServerOptions, parse_options
from slipway.engine.extensions import EXTENSIONS, announced
from slipway.rest.app import find

# Triton core server.cc, InferenceServer::InferenceServer.
TRITON = """classification sequence model_repository model_repository(unload_dependents) schedule_policy
    model_configuration system_shared_memory cuda_shared_memory binary_tensor_data parameters statistics trace
    logging""".split()

# Extension -> a route that only a server with it has. A server without it may answer the route with a refusal.
ROUTES = {"logging": b"/v2/logging"}


def test_every_extension_of_triton_has_a_row_in_its_order():
    assert [extension.name for extension in EXTENSIONS] == TRITON


def test_what_needs_no_flag_is_always_announced():
    names = announced(ServerOptions())
    assert set(names) >= {"classification", "model_repository", "binary_tensor_data", "parameters", "statistics"}
    assert "cuda_shared_memory" not in names
    assert list(names) == [name for name in TRITON if name in names]


@pytest.mark.parametrize("name", ROUTES)
def test_an_extension_is_announced_if_and_only_if_its_route_exists(name):
    assert (name in announced(ServerOptions())) == (find(ROUTES[name]) is not None)


def test_shared_memory_is_announced_only_when_its_flag_switches_it_on():
    assert "system_shared_memory" not in announced(ServerOptions())
    assert "system_shared_memory" in announced(parse_options(["models", "--allow-client-shm"]))


def test_traces_are_announced_only_when_there_is_somewhere_to_send_them():
    assert "trace" not in announced(parse_options(["models", "--trace-config=level=TIMESTAMPS"]))
    assert "trace" in announced(parse_options(["models", "--trace-config=triton,file=trace.json"]))
    assert "trace" in announced(parse_options(["models", "--trace-config=mode=opentelemetry"]))
