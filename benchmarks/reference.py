"""NVIDIA's own tritonserver and perf_analyzer, installed once into a separate cache folder.

The server comes from the `nvidia-pytriton` wheel (python and ensemble backends, CPU, Triton 2.51), which pins an old
numpy and therefore has its own virtual environment. The load generator comes from the tritonclient 2.43 wheel. Both are
for comparison only: tests/reference compares behaviour with the server, and the benchmarks compare speed.
"""

from __future__ import annotations

import os
import platform
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.serving import Ports

CACHE = Path(os.environ.get("SLIPWAY_TOOLS", Path.home() / ".cache" / "slipway-tools"))
PYTRITON = "nvidia-pytriton==0.7.0"
START_SECONDS = 60


class CannotRunError(RuntimeError):
    """The tool cannot run on this machine; the message says why."""


def _require_platform() -> None:
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotRunError(f"needs Linux on x86-64, but this is {platform.system()} on {platform.machine()}")


def _checked(*command: str | Path) -> str:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRunError(f"{Path(str(command[0])).name} failed: {done.stderr.strip()[-500:]}")
    return done.stdout


def install_server() -> Path:
    """Return the folder of the reference server's virtual environment, created on the first call."""
    _require_platform()
    if sys.version_info[:2] != (3, 11):
        raise CannotRunError("the stub of Triton's python backend needs CPython 3.11")
    home = CACHE / "triton"
    if not (home / ".ready").exists():
        _checked(sys.executable, "-m", "venv", home)
        _checked(home / "bin/python", "-m", "pip", "install", "-q", PYTRITON)
        server = _site_packages(home) / "pytriton/tritonserver"
        stub = server / "backends/python/triton_python_backend_stub"
        shutil.copy(server / "python_backend_stubs/3.11/triton_python_backend_stub", stub)
        stub.chmod(0o755)
        (home / ".ready").touch()
    return home


def add_library(name: str) -> None:
    """Install a package, without its dependencies, for the Python models of the reference server."""
    packages = _site_packages(install_server())
    if not (packages / name).exists():
        _checked(sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", packages, name)


def _site_packages(home: Path) -> Path:
    return home / "lib/python3.11/site-packages"


def install_perf_analyzer() -> tuple[Path, dict[str, str]]:
    """Return perf_analyzer's path and the environment it needs."""
    _require_platform()
    home = CACHE / "perf_analyzer"
    program = home / "perf_analyzer"
    if not program.exists():
        with tempfile.TemporaryDirectory() as scratch:
            _unpack_perf_analyzer(Path(scratch), home)
    return program, {**os.environ, "LD_LIBRARY_PATH": str(home / "lib")}


def _unpack_perf_analyzer(scratch: Path, home: Path) -> None:
    pip = (sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", scratch)
    _checked(*pip, "tritonclient==2.43.0", "nvidia-cuda-runtime-cu12")
    for wheel in scratch.glob("*.whl"):
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(scratch / "out")
    if shutil.which("apt-get") is None or shutil.which("dpkg") is None:
        raise CannotRunError("perf_analyzer needs libb64.so.0d, which is fetched with apt-get and dpkg")
    subprocess.run(["apt-get", "download", "-qq", "libb64-0d"], cwd=scratch, check=False, capture_output=True)
    for package in scratch.glob("libb64-0d*.deb"):
        _checked("dpkg", "-x", package, scratch / "deb")
    libraries = [*scratch.glob("deb/usr/lib/*/libb64.so.0d")]
    if not libraries:
        raise CannotRunError("apt-get could not download libb64-0d")
    (home / "lib").mkdir(parents=True, exist_ok=True)
    shutil.copy(libraries[0], home / "lib")
    shutil.copy(scratch / "out/nvidia/cuda_runtime/lib/libcudart.so.12", home / "lib")
    shutil.copy(scratch / "out/tritonclient-2.43.0.data/data/bin/perf_analyzer", home / "perf_analyzer")
    (home / "perf_analyzer").chmod(0o755)


def free_ports(count: int) -> list[int]:
    """Return `count` different free ports of 127.0.0.1."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for opened in sockets:
            opened.bind(("127.0.0.1", 0))
        return [opened.getsockname()[1] for opened in sockets]


@contextmanager
def _running(command: Sequence[object], ports: Ports, log: Path, env: dict[str, str], until: str) -> Iterator[int]:
    """Run a server until the block ends; yield its process id once GET `until` succeeds. Its output goes to `log`."""
    with log.open("wb") as output:
        process = subprocess.Popen(list(map(str, command)), stdout=output, stderr=subprocess.STDOUT, env=env)
    try:
        _wait_until(until, process, ports, log)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until(path: str, process: subprocess.Popen[bytes], ports: Ports, log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    url = f"http://127.0.0.1:{ports.http}{path}"
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CannotRunError(f"the server exited during start-up:\n{log.read_text(errors='replace')[-2000:]}")
        try:
            with urllib.request.urlopen(url, timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise CannotRunError(f"the server was not ready in {START_SECONDS} s:\n{log.read_text(errors='replace')[-2000:]}")


@contextmanager
def reference_server(
    repository: Path, log: Path, *flags: str, libraries: Sequence[Path] = (), until: str = "/v2/health/ready"
) -> Iterator[tuple[Ports, int]]:
    """Run NVIDIA's tritonserver on `repository`; yield its ports and process id once GET `until` succeeds.

    Its Python models can import packages from the folders `libraries` that its own environment does not have.
    """
    home = install_server()
    packages = _site_packages(home)
    server = packages / "pytriton/tritonserver"
    libpython = _checked(home / "bin/python", "-c", "import sysconfig; print(sysconfig.get_config_var('LIBDIR'))")
    env = {
        **os.environ,
        "LD_LIBRARY_PATH": f"{packages / 'nvidia_pytriton.libs'}:{libpython.strip()}",
        "PYTHONPATH": str(packages),
        "PATH": f"{home / 'bin'}:{os.environ['PATH']}",
    }
    ports = Ports(*free_ports(3))
    command = [
        server / "bin/tritonserver",
        *("--backend-directory", server / "backends"),
        *("--cache-directory", server / "caches"),
        *("--model-repository", repository),
        *("--http-port", ports.http, "--grpc-port", ports.grpc, "--metrics-port", ports.metrics),
        *flags,
    ]
    # Its python backend ignores PYTHONPATH, but reads the .pth files of its own environment.
    with tempfile.NamedTemporaryFile("w", dir=packages, suffix=".pth") as path_file:
        path_file.write("".join(f"{folder}\n" for folder in libraries))
        path_file.flush()
        with _running(command, ports, log, env, until) as pid:
            yield ports, pid
