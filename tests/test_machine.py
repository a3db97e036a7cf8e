"""What the machine is, as its system shows it."""

from __future__ import annotations

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


def test_memory_is_unknown_where_the_system_does_not_say(tmp_path):
    assert read_memory(tmp_path, tmp_path / "absent") is None
