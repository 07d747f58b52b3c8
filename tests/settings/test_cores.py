"""``workers = auto``: the cores that the control groups of a process leave it, in the trees that kernels and containers show."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from arun.settings.cores import usable_cores

if TYPE_CHECKING:
    from pathlib import Path

V2 = "31 23 0:27 {} /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw,nsdelegate\n"
V1 = (
    "32 24 0:28 {0} /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "33 24 0:29 {0} /sys/fs/cgroup/cpu,cpuacct rw shared:3 - cgroup cgroup rw,cpu,cpuacct\n"
)
CPU = "sys/fs/cgroup/cpu,cpuacct"
#: What /proc tells of groups and mounts, the files below the root, and the cores that are left of eight.
ROWS: dict[str, tuple[str, str, dict[str, str], int]] = {
    "no groups": ("", "", {}, 8),
    "v2, no limit": ("0::/\n", V2.format("/"), {"sys/fs/cgroup/cpu.max": "max 100000\n"}, 8),
    "v2, a container's own top": ("0::/\n", V2.format("/"), {"sys/fs/cgroup/cpu.max": "200000 100000\n"}, 2),
    "v2, the own group": (
        "0::/system.slice/arun.service\n",
        V2.format("/"),
        {"sys/fs/cgroup/system.slice/arun.service/cpu.max": "300000 100000\n"},
        3,
    ),
    "v2, the group above allows less": (
        "0::/a/b\n",
        V2.format("/"),
        {"sys/fs/cgroup/a/b/cpu.max": "600000 100000\n", "sys/fs/cgroup/a/cpu.max": "200000 100000\n"},
        2,
    ),
    "v2, a part of a core": ("0::/\n", V2.format("/"), {"sys/fs/cgroup/cpu.max": "150000 100000\n"}, 2),
    "v2, less than a core": ("0::/\n", V2.format("/"), {"sys/fs/cgroup/cpu.max": "1000 100000\n"}, 1),
    "v2, more than there are": ("0::/\n", V2.format("/"), {"sys/fs/cgroup/cpu.max": "9900000 100000\n"}, 8),
    "v2, the path of the host": (
        "0::/docker/abc/in\n",
        V2.format("/docker/abc"),
        {"sys/fs/cgroup/in/cpu.max": "400000 100000\n"},
        4,
    ),
    "v2, a path that is not to be seen": (
        "0::/../other\n",
        V2.format("/"),
        {"sys/fs/cgroup/cpu.max": "500000 100000\n", "sys/fs/other/cpu.max": "100000 100000\n"},
        5,
    ),
    "v1": (
        "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n",
        V1.format("/docker/abc"),
        {f"{CPU}/cpu.cfs_quota_us": "250000\n", f"{CPU}/cpu.cfs_period_us": "100000\n"},
        3,
    ),
    "v1, below the top": (
        "4:cpu,cpuacct:/a/b\n0::/a/b\n",
        V1.format("/"),
        {f"{CPU}/a/cpu.cfs_quota_us": "100000\n", f"{CPU}/a/cpu.cfs_period_us": "50000\n"},
        2,
    ),
    "v1, no limit": (
        "4:cpu,cpuacct:/\n",
        V1.format("/"),
        {f"{CPU}/cpu.cfs_quota_us": "-1\n", f"{CPU}/cpu.cfs_period_us": "100000\n"},
        8,
    ),
    "lines that are none": ("banana\n\n", "banana - x\n - \n", {}, 8),
    "numbers that are none": ("0::/\n", V2.format("/"), {"sys/fs/cgroup/cpu.max": "1 0 banana\n"}, 8),
}


@pytest.mark.parametrize("row", ROWS)
def test_a_process_uses_no_more_cores_than_its_groups_allow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, row: str
) -> None:
    groups, mounts, files, cores = ROWS[row]
    for name, content in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: set(range(8)))
    assert usable_cores(str(tmp_path)) == cores


def test_this_machine_has_a_core_at_least() -> None:
    assert 1 <= usable_cores() <= len(os.sched_getaffinity(0))
