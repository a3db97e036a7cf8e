"""What the machine is, as its system shows it."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from slipway.machine import Memory, describe_machine, gpu_count, has_gpu, processor_name, read_memory


def test_gpus_are_counted_by_what_the_driver_shows(tmp_path):
    assert gpu_count(tmp_path / "absent") == 0
    (tmp_path / "0000:01:00.0").mkdir()
    assert gpu_count(tmp_path) == 1


def test_a_gpu_is_there_when_any_of_its_places_is(tmp_path):
    assert not has_gpu([tmp_path / "absent"])
    assert has_gpu([tmp_path / "absent", tmp_path])


def test_the_machine_is_described_by_its_processor():
    assert processor_name()
    assert describe_machine().startswith(f"{processor_name()}, ")


def write(directory, **files):
    for name, text in files.items():
        path = directory / name.replace("__", "/").replace("_of_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory_of_max": "max\n", "memory_of_current": "5\n", "memory_of_stat": ""}, Memory(8 << 20, 6 << 20)),
        (
            {
                "memory_of_max": f"{4 << 20}",
                "memory_of_current": "3000",
                "memory_of_stat": "anon 1\ninactive_file 1000",
            },
            Memory(4 << 20, 2000),
        ),
        (
            {
                "memory__memory_of_limit_in_bytes": f"{2 << 20}",
                "memory__memory_of_usage_in_bytes": "700",
                "memory__memory_of_stat": "total_inactive_file 200",
            },
            Memory(2 << 20, 500),
        ),
        ({"memory_of_max": f"{1 << 60}", "memory_of_current": "5", "memory_of_stat": ""}, Memory(8 << 20, 6 << 20)),
        ({}, Memory(8 << 20, 6 << 20)),
    ],
)
def test_memory_is_the_cgroups_where_it_is_limited_and_the_machines_elsewhere(tmp_path, files, expected):
    write(tmp_path, **files, meminfo="MemTotal: 8192 kB\nMemFree: 1 kB\nMemAvailable: 2048 kB\n")
    assert read_memory(tmp_path, tmp_path / "meminfo") == expected


@pytest.mark.parametrize(
    ("membership", "group"),
    [
        ("0::/system.slice/slipway.service\n", "system.slice/slipway.service"),
        ("0::/system.slice/slipway.service/inner\n", "system.slice/slipway.service"),
        ("9:memory:/docker/abc\n0::/\n", "memory/docker/abc"),
        ("4:cpu,memory:/docker/abc\n", "memory/docker"),
    ],
)
def test_memory_is_limited_by_the_groups_that_the_process_is_in(tmp_path, membership, group):
    write(tmp_path, meminfo="MemTotal: 8192 kB\nMemFree: 1 kB\nMemAvailable: 2048 kB\n", membership=membership)
    inside = tmp_path / group
    inside.mkdir(parents=True)
    names = ("limit_in_bytes", "usage_in_bytes") if group.startswith("memory") else ("max", "current")
    for name, value in zip(names, (4 << 20, 3000), strict=True):
        (inside / f"memory.{name}").write_text(f"{value}\n")
    (inside / "memory.stat").write_text("inactive_file 1000\ntotal_inactive_file 1000\n")
    assert read_memory(tmp_path, tmp_path / "meminfo", tmp_path / "membership") == Memory(4 << 20, 2000)


def test_the_smallest_limit_around_the_process_counts(tmp_path):
    write(tmp_path, meminfo="MemTotal: 8192 kB\nMemFree: 1 kB\nMemAvailable: 2048 kB\n", membership="0::/a/b\n")
    for group, limit in (("a/b", "max"), ("a", str(3 << 20)), (".", str(5 << 20))):
        directory = tmp_path / group
        directory.mkdir(parents=True, exist_ok=True)
        (directory / "memory.max").write_text(limit)
        (directory / "memory.current").write_text("7")
        (directory / "memory.stat").write_text("")
    assert read_memory(tmp_path, tmp_path / "meminfo", tmp_path / "membership") == Memory(3 << 20, 7)


def test_the_address_space_is_unlimited_unless_ulimit_says_otherwise():
    program = "from slipway.machine import free_address_space as free; print(free())"
    unlimited = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    limited = subprocess.run(
        ["sh", "-c", 'ulimit -v 4000000 && exec "$@"', "sh", sys.executable, "-c", program],
        check=True,
        capture_output=True,
        text=True,
    )
    assert unlimited.stdout == "None\n"
    assert 3_000_000 << 10 < int(limited.stdout) < 4_000_000 << 10


def test_memory_is_unknown_where_the_system_does_not_say(tmp_path):
    assert read_memory(tmp_path, tmp_path / "absent") is None


def test_freed_memory_goes_back_to_the_system():
    """In a process of its own: blocks that the C library does not map one by one, freed while the last one stays."""
    program = (
        "from slipway.machine import resident_memory, return_free_memory\n"
        "blocks = [bytes(100_000) for _ in range(1000)]\n"
        "del blocks[:-1]\n"
        "before = resident_memory()\n"
        "return_free_memory()\n"
        "print(before - resident_memory())\n"
    )
    found = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(found.stdout) > 50_000_000 or platform.libc_ver()[0] != "glibc"
