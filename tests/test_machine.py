"""What the machine is, as its system shows it."""

from __future__ import annotations

from slipway.machine import describe_machine, gpu_count, has_gpu, processor_name


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
