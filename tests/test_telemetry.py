"""No command reports to anybody: no name is looked up, no address outside is connected to, no identifier is kept."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.convert.graphs import write_encoder_graph

# Stands in front of the C library: what looks a name up or connects is written down.
RECORDER = r"""
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

static void record(const char *what, const char *who) {
    FILE *file = fopen(getenv("RECORD"), "a");
    if (file) { fprintf(file, "%s %s\n", what, who ? who : "-"); fclose(file); }
}

int getaddrinfo(const char *node, const char *service, const struct addrinfo *hints, struct addrinfo **result) {
    int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    real = dlsym(RTLD_NEXT, "getaddrinfo");
    if (node && strcmp(node, "127.0.0.1") && strcmp(node, "localhost") && strcmp(node, "::1")) record("lookup", node);
    return real(node, service, hints, result);
}

struct hostent *gethostbyname(const char *name) {
    struct hostent *(*real)(const char *) = dlsym(RTLD_NEXT, "gethostbyname");
    record("lookup", name);
    return real(name);
}

int connect(int descriptor, const struct sockaddr *address, socklen_t length) {
    int (*real)(int, const struct sockaddr *, socklen_t) = dlsym(RTLD_NEXT, "connect");
    if (address->sa_family == AF_INET) {
        const char *text = inet_ntoa(((const struct sockaddr_in *)address)->sin_addr);
        if (strncmp(text, "127.", 4)) record("connect", text);
    }
    return real(descriptor, address, length);
}
"""


@pytest.fixture(scope="module")
def recorder(tmp_path_factory):
    compiler = shutil.which("cc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs a C compiler on Linux to stand in front of the resolver")
    directory = tmp_path_factory.mktemp("recorder")
    (directory / "recorder.c").write_text(RECORDER)
    library = directory / "recorder.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, directory / "recorder.c", "-ldl"], check=True)
    return library


class Watched:
    """Commands run with a home of their own and every look-up written down."""

    def __init__(self, recorder: Path, directory: Path) -> None:
        self.home = directory / "home"
        self.home.mkdir()
        self._record = directory / "record"
        self._record.touch()
        kept = {name: value for name, value in os.environ.items() if not name.endswith("TELEMETRY")}
        self._environment = {
            **kept,
            "LD_PRELOAD": str(recorder),
            "RECORD": str(self._record),
            "HOME": str(self.home),
            "XDG_CACHE_HOME": str(self.home / "cache"),
        }
        self._environment.pop("CI", None)  # some libraries keep quiet there

    def start(self, *command: str | Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            list(map(str, command)), env=self._environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def run(self, *command: str | Path) -> str:
        process = self.start(*command)
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output.decode()
        return output.decode()

    @property
    def seen(self) -> list[str]:
        return self._record.read_text().splitlines()

    @property
    def kept(self) -> list[str]:
        """Files in the home directory that are not Slipway's own cache."""
        files = [str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()]
        return [name for name in files if not name.startswith("cache/slipway/")]


SLIPWAY = (sys.executable, "-m", "slipway")


def test_the_recorder_sees_a_look_up(recorder, tmp_path):
    watched = Watched(recorder, tmp_path)
    code = "import socket, contextlib\nwith contextlib.suppress(OSError): socket.getaddrinfo('host.invalid', 80)"
    watched.run(sys.executable, "-c", code)
    assert watched.seen == ["lookup host.invalid"]


def test_converting_checking_verifying_and_serving_report_to_nobody(recorder, tmp_path):
    watched = Watched(recorder, tmp_path)
    source, models = tmp_path / "graph.onnx", tmp_path / "models"
    write_encoder_graph(source)
    watched.run(*SLIPWAY, "convert", source, "--name", "graph", "--repository", models)
    watched.run(*SLIPWAY, "check", models)
    watched.run(*SLIPWAY, "verify", models)
    server = watched.start(
        *SLIPWAY, "serve", models, "--http-port", "0", "--grpc-port", "0", "--metrics-port", "0", "--log-verbose", "1"
    )
    for line in server.stdout:
        if b"Started Metrics Service" in line:
            break
    time.sleep(1)  # what reports in the background does so soon after its start
    server.send_signal(signal.SIGTERM)
    server.communicate(timeout=60)
    assert server.returncode == 0
    assert watched.seen == []
    assert watched.kept == []
