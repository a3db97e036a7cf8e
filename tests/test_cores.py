"""How many processors there are for a process."""

from __future__ import annotations

import os

import pytest

from slipway.cores import cpu_limit, own_cgroups


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "100000 100000\n"}, 1),
        ({"cpu.max": "10000 100000\n"}, 1),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
        ({"cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_cpu_limit_is_the_affinity_cut_by_the_cgroups_quota(tmp_path, files, limit):
    for name, text in files.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert cpu_limit(tmp_path) == (len(os.sched_getaffinity(0)) if limit is None else limit)


def test_the_quotas_of_all_groups_around_the_process_count(tmp_path):
    (tmp_path / "membership").write_text("0::/a/b\n")
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "cpu.max").write_text("100000 100000\n")
    (tmp_path / "a" / "b" / "cpu.max").write_text("max 100000\n")
    assert cpu_limit(tmp_path, tmp_path / "membership") == 1


def test_a_path_that_is_the_hosts_leaves_the_root(tmp_path):
    (tmp_path / "membership").write_text("7:cpu,cpuacct:/docker/abc\n")
    assert own_cgroups(tmp_path / "cpu", "cpu", tmp_path / "membership") == [
        tmp_path / "cpu" / "docker" / "abc",
        tmp_path / "cpu" / "docker",
        tmp_path / "cpu",
    ]
    assert own_cgroups(tmp_path, "", tmp_path / "membership") == [tmp_path]
