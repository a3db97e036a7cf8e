"""What the process reports to the supervisor that started it."""

from __future__ import annotations

import logging
import socket

import pytest

from slipway import supervisor


@pytest.fixture
def listening(tmp_path):
    """A supervisor's socket, and its path."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(20)
        listener.bind(str(tmp_path / "notify"))
        yield listener


def test_a_state_reaches_the_socket(listening):
    supervisor.report(supervisor.READY, {"NOTIFY_SOCKET": listening.getsockname()})
    assert listening.recv(100) == b"READY=1"


@pytest.mark.skipif(not hasattr(socket, "SO_PASSCRED"), reason="only Linux has abstract addresses")
def test_a_state_reaches_a_socket_with_an_abstract_address():
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.settimeout(20)
        listener.bind("")  # the system chooses an abstract address
        place = "@" + listener.getsockname()[1:].decode()
        supervisor.report(supervisor.STOPPING, {"NOTIFY_SOCKET": place})
        assert listener.recv(100) == b"STOPPING=1"


def test_without_a_supervisor_nothing_is_reported(caplog):
    supervisor.report(supervisor.READY, {})
    supervisor.report(supervisor.READY, {"NOTIFY_SOCKET": ""})
    assert caplog.text == ""


def test_a_socket_that_is_gone_costs_a_warning(caplog, tmp_path):
    with caplog.at_level(logging.WARNING):
        supervisor.report(supervisor.READY, {"NOTIFY_SOCKET": str(tmp_path / "gone")})
    assert f"cannot report READY=1 to NOTIFY_SOCKET={tmp_path / 'gone'}: No such file or directory" in caplog.text
