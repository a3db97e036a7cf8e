"""Installs the base package as a user does, without the constraints file, on every Python that it names.

`make install-check` runs it, with any Python and nothing installed. For each version: a fresh environment, the wheel
and what it needs (wheels only, so no compiler is asked for), a smoke test, and all extras resolved without installing
them. A version that this machine lacks is named and skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent
SMOKE = Path(__file__).with_name("installed_smoke.py")
SOURCE = ("slipway", "pyproject.toml", "README.md", "LICENSE")
WHEELS_ONLY = ("--only-binary", ":all:")
# A recent pip reads what a wheel needs from its end, over the network: no gigabytes for torch and CUDA.
RESOLVE = ("--dry-run", "--use-feature=fast-deps", *WHEELS_ONLY)
CLASSIFIER = "Programming Language :: Python :: 3."


class FailedError(Exception):
    """A step that failed, with what it printed."""


def main() -> int:
    """Check all versions at once, as most of it waits for the network, and print a line for each; 1 when one failed."""
    found = {version: find_python(version) for version in versions()}
    for version in (version for version, python in found.items() if not python):
        print(f"Python {version}: skipped, this machine does not have it")
    present = {version: python for version, python in found.items() if python}
    if not present:
        print("nothing was checked")
        return 1
    with tempfile.TemporaryDirectory(prefix="slipway-install-") as directory:
        wheel = build(next(iter(present.values())), Path(directory))
        with ThreadPoolExecutor(len(present)) as pool:
            jobs = {v: pool.submit(check, python, Path(directory) / v, wheel) for v, python in present.items()}
        failed = 0
        for version, job in jobs.items():
            error = job.exception()
            if error is not None and not isinstance(error, FailedError):
                raise error
            failed += error is not None
            print(f"Python {version}: {error or job.result()}")
    return 1 if failed else 0


def versions() -> list[str]:
    """Return the versions of Python that pyproject.toml names."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    named = (each.removeprefix(CLASSIFIER) for each in project["classifiers"] if each.startswith(CLASSIFIER))
    return [f"3.{minor}" for minor in named]


def find_python(version: str) -> str:
    """Return an interpreter of that version which runs, "" if there is none: from PATH, pyenv or uv."""
    for candidate in candidates(version):
        with_version = (candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])")
        try:
            done = subprocess.run(with_version, capture_output=True, text=True, check=False)
        except OSError:
            continue
        if done.stdout.strip() == version:  # a shim of pyenv may stand for a version that is not chosen
            return candidate
    return ""


def candidates(version: str) -> Iterator[str]:
    """Yield where an interpreter of that version may be."""
    yield f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT") or "~/.pyenv").expanduser()
    yield from map(str, pyenv.glob(f"versions/{version}.*/bin/python"))
    if shutil.which("uv"):
        done = subprocess.run(("uv", "python", "find", version), capture_output=True, text=True, check=False)
        yield done.stdout.strip() or f"python{version}"


def build(python: str, directory: Path) -> Path:
    """Return the package's wheel, built from a copy: setuptools writes beside the source."""
    source, environment = directory / "source", directory / "build"
    source.mkdir()
    for name in SOURCE:
        path = PROJECT / name
        shutil.copytree(path, source / name) if path.is_dir() else shutil.copy(path, source / name)
    run((python, "-m", "venv", environment))
    run((environment / "bin" / "pip", "wheel", "--no-deps", "--wheel-dir", directory, source))
    return next(directory.glob("*.whl"))


def check(python: str, directory: Path, wheel: Path) -> str:
    """Install, try and resolve with one interpreter; return how long each step took."""
    began = time.monotonic()
    run((python, "-m", "venv", directory))
    pip = directory / "bin" / "pip"
    run((pip, "install", "--no-compile", *WHEELS_ONLY, wheel))
    run((pip, "check"))
    installed = time.monotonic()
    run((directory / "bin" / "python", SMOKE), cwd=directory)
    tried = time.monotonic()
    run((pip, "install", "--upgrade", "pip"))
    run((pip, "install", *RESOLVE, f"{wheel}[dev]"))  # which holds all other extras
    resolved = time.monotonic()
    return (
        f"installed in {installed - began:.0f} s, served and answered in {tried - installed:.0f} s, extras resolved in "
        f"{resolved - tried:.0f} s"
    )


def run(command: Sequence[str | Path], cwd: Path | None = None) -> None:
    """Run a command; raise FailedError with the end of what it printed. The machine's own settings of pip hold."""
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(
        command, cwd=cwd, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode:
        lines = [line for line in done.stdout.splitlines() if not line.startswith("WARNING: Location")]
        raise FailedError("\n".join([f"failed: {' '.join(map(str, command))}", *lines[-40:]]))


if __name__ == "__main__":
    sys.exit(main())
