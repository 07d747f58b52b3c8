"""The units for systemd: known to systemd, in keeping with what arun does, and good after editing one line."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from arun.server.server import _SHUTDOWN_MARGIN
from arun.settings.options import Options

if TYPE_CHECKING:
    from tests.conftest import Starter

UNITS = Path(__file__).parents[2] / "docker" / "systemd"
#: What the tests of systemd.unit(5), systemd.service(5), systemd.exec(5) and systemd.socket(5) know, by section.
KNOWN = {
    "Unit": {"Description", "Wants", "After", "StartLimitIntervalSec"},
    "Service": {
        *("Type", "NotifyAccess", "ExecStart", "ExecReload", "Restart", "RestartSec", "WatchdogSec", "KillMode"),
        *("TimeoutStopSec", "FileDescriptorStoreMax", "RuntimeDirectory", "RuntimeDirectoryPreserve", "StateDirectory"),
        *("DynamicUser", "AmbientCapabilities", "CapabilityBoundingSet", "NoNewPrivileges", "ProtectSystem"),
        *("ProtectHome", "PrivateTmp", "PrivateDevices", "ProtectClock", "ProtectControlGroups", "ProtectHostname"),
        *("ProtectKernelLogs", "ProtectKernelModules", "ProtectKernelTunables", "RestrictAddressFamilies"),
        *("RestrictNamespaces", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality"),
        *("SystemCallArchitectures", "SystemCallFilter", "SystemCallErrorNumber"),
    },
    "Socket": {"ListenStream", "Backlog", "FileDescriptorName"},
    "Install": {"WantedBy"},
}
WITHIN = {"arun.service": {"Unit", "Service", "Install"}, "arun.socket": {"Unit", "Socket", "Install"}}


def settings(name: str) -> dict[str, dict[str, str]]:
    """The settings of a unit by section; each stands there once."""
    found: dict[str, dict[str, str]] = {}
    section: dict[str, str] = {}
    for line in (UNITS / name).read_text().splitlines():
        if line.startswith("["):
            section = found.setdefault(line.strip("[]"), {})
        elif line and not line.startswith("#"):
            key, equals, value = line.partition("=")
            assert equals, line
            assert key not in section
            section[key] = value
    return found


@pytest.mark.parametrize("name", WITHIN)
def test_a_unit_has_sections_and_keys_that_systemd_knows(name: str) -> None:
    found = settings(name)

    assert set(found) == WITHIN[name]
    for section, keys in found.items():
        assert set(keys) <= KNOWN[section]


def test_systemd_verifies_the_units_after_editing_one_line(tmp_path: Path, arun: Starter) -> None:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("no systemd-analyze here")
    for unit in UNITS.iterdir():
        text = unit.read_text().replace("/srv/app/.venv/bin/arun", str(arun.command))
        (tmp_path / unit.name).write_text(text)

    command = ["systemd-analyze", "verify", "arun.service", "arun.socket"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)

    about = [line for line in done.stderr.splitlines() if "arun" in line]  # it looks at the machine's own units as well
    assert (done.returncode, about) == (0, [])


def test_the_command_of_the_service_serves_an_app_in_its_folder(arun: Starter) -> None:
    program, *arguments = shlex.split(settings("arun.service")["Service"]["ExecStart"])
    assert program == "/srv/app/.venv/bin/arun"
    arun.write("app.py", "def app(environ, start_response):\n    start_response('200 OK', [])\n    return [b'mine']\n")

    words = [word.replace("/srv/app", str(arun.folder)) for word in arguments]
    instance = arun(*words, "--bind", "{address}").ready()

    assert instance.get().body == b"mine"


def test_systemd_waits_longer_for_the_stop_than_arun_takes() -> None:
    from arun.core.exits import CLEAN_BOUND

    service = settings("arun.service")["Service"]
    grace: float = Options.timeout_graceful_shutdown.default  # type: ignore[attr-defined] # the option itself, not its value

    longest = grace + 2 * _SHUTDOWN_MARGIN + CLEAN_BOUND
    assert float(service["TimeoutStopSec"]) > longest
    assert (service["Type"], service["NotifyAccess"], service["KillMode"]) == ("notify", "main", "mixed")
    program = service["ExecStart"].split()[0]
    assert service["ExecReload"] == f"{program} reload"
    assert service["RuntimeDirectory"]  # where the control socket is
