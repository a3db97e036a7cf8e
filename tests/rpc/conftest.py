"""A listener with its event loop in a separate thread, so that tests can use blocking clients."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import pytest
import tritonclient.grpc as client_module

from slipway.rpc.listener import GrpcListener
from slipway.rpc.options import GrpcOptions
from tests.rpc.models import dataplane

ENGINES = ("grpcio", "native", "asyncio")


class RunningServer:
    def __init__(self, plane, listener, loop):
        self.plane = plane
        self.listener = listener
        self.loop = loop
        self.port = 0

    @property
    def url(self):
        return f"127.0.0.1:{self.port}"

    def run(self, coroutine):
        """Run a coroutine on the server's loop and return its result."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(30)

    def wait_until(self, condition):
        """Wait until `condition`, evaluated on the server's loop, is true."""

        async def wait():
            while not condition():  # noqa: ASYNC110  the plane's plain lists have no events
                await asyncio.sleep(0.002)

        self.run(asyncio.wait_for(wait(), 20))


@contextmanager
def serving(options, keys=None):
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    plane = dataplane()
    running = RunningServer(plane, GrpcListener(plane, options, keys=keys), loop)
    try:
        running.port = running.run(running.listener.start())
        yield running
    finally:
        running.run(running.listener.stop(0))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@pytest.fixture(params=ENGINES)
def engine(request):
    if request.param == "native":
        pytest.importorskip("pygrpc_native", reason="the extra `fast` is not installed")
    return request.param


@pytest.fixture
def server(engine):
    with serving(GrpcOptions(grpc_port=0, grpc_engine=engine)) as running:
        yield running


@pytest.fixture
def client(server):
    with client_module.InferenceServerClient(server.url) as connected:
        yield connected
