"""Real reverse proxies in front of a server, each with an access rule: nobody may reach /v2/repository through it."""

from __future__ import annotations

import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

START_SECONDS = 20
# The settings for websockets that nginx documents, with connections to the server that are kept and shared.
NGINX = """\
daemon off;
error_log {directory}/error.log;
pid {directory}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    keepalive_requests 10000;
    map $http_upgrade $connection_upgrade {{ default upgrade; '' ''; }}
    upstream models {{ server 127.0.0.1:{server}; keepalive 8; }}
    server {{
        listen 127.0.0.1:{port};
        location /v2/repository {{ return 403; }}
        location / {{
            proxy_pass http://models;
            proxy_http_version 1.1;
            proxy_set_header Host $host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
        }}
    }}
}}
"""
HAPROXY = """\
defaults
    mode http
    timeout connect 5s
    timeout client 20s
    timeout server 20s
    http-reuse always
frontend web
    bind 127.0.0.1:{port}
    http-request deny if {{ path_beg /v2/repository }}
    default_backend models
backend models
    server models 127.0.0.1:{server}
"""


@contextmanager
def nginx(directory: Path, server: int) -> Iterator[int]:
    """Run nginx in front of the port `server`; yield its port."""
    with _running(directory, NGINX, server, lambda program, file: [program, "-c", str(file)]) as port:
        yield port


@contextmanager
def haproxy(directory: Path, server: int) -> Iterator[int]:
    """Run haproxy in front of the port `server`; yield its port."""
    with _running(directory, HAPROXY, server, lambda program, file: [program, "-db", "-f", str(file)]) as port:
        yield port


PROXIES = {"nginx": nginx, "haproxy": haproxy}


def find(name: str) -> str | None:
    """Return the program, or None if it is not installed."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")


@contextmanager
def _running(directory: Path, template: str, server: int, command: Callable[[str, Path], list[str]]) -> Iterator[int]:
    name = "nginx" if template is NGINX else "haproxy"
    program = find(name)
    if program is None:
        raise FileNotFoundError(name)
    port = _free_port()
    file = directory / f"{name}.conf"
    file.write_text(template.format(directory=directory, port=port, server=server))
    with (directory / f"{name}.log").open("wb") as log:
        process = subprocess.Popen(command(program, file), stdout=log, stderr=log)
    try:
        _wait(port, process, directory / f"{name}.log")
        yield port
    finally:
        process.terminate()
        process.wait(START_SECONDS)


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        port: int = unused.getsockname()[1]
        return port


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"the proxy did not start:\n{log.read_text()}") from None
            time.sleep(0.02)
        else:
            return
