"""`make demo` is the first thing that a newcomer runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.mark.slow
def test_the_demo_converts_serves_asks_and_stops(tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0
    assert [line for line in result.stderr.splitlines() if not line.startswith("step ")] == []
    assert "HTTP and gRPC agree" in result.stdout
    assert "The server stopped cleanly." in result.stdout
