"""The image as its Dockerfile tells it: who runs in it, how it is stopped, asked for its health, and what gets in."""

from __future__ import annotations

import contextlib
import fnmatch
import http.server
import json
import os
import re
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest
from tests.conftest import ARUN

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture
def stages(docker: Path) -> list[list[tuple[str, str]]]:
    """The instructions of each stage, in their order."""
    text = re.sub(r"^#.*\n", "", (docker / "Dockerfile").read_text(), flags=re.MULTILINE)
    lines = text.replace("\\\n", " ").splitlines()
    found: list[list[tuple[str, str]]] = []
    for keyword, _, rest in (line.strip().partition(" ") for line in lines if line.strip()):
        if keyword == "FROM":
            found.append([])
        found[-1].append((keyword, " ".join(rest.split()) if keyword != "HEALTHCHECK" else rest.strip()))
    return found


@pytest.fixture
def final(stages: list[list[tuple[str, str]]]) -> dict[str, str]:
    """The last instruction of each kind in the stage that becomes the image."""
    return dict(stages[-1])


def test_hadolint_has_nothing_to_say(docker: Path, lint: Callable[..., str]) -> None:
    assert lint("hadolint", docker / "Dockerfile") == ""


def test_the_build_stage_stays_behind_and_shares_the_base(stages: list[list[tuple[str, str]]]) -> None:
    """A virtual environment works only where its interpreter is: both stages must start from the same image."""
    assert len(stages) == 2
    bases = [stage[0][1].split()[0] for stage in stages]
    assert bases[0] == bases[1]
    assert ":" in bases[0], "the base has a version"
    assert not bases[0].endswith(":latest")


def test_the_image_runs_as_a_number_that_is_not_root(final: dict[str, str]) -> None:
    """Kubernetes' runAsNonRoot can verify numbers only."""
    uid, _, gid = final["USER"].partition(":")
    assert int(uid) > 0
    assert int(gid) > 0


def test_arun_gets_sigterm_through_no_shell(final: dict[str, str]) -> None:
    """The shell form of ENTRYPOINT and CMD would put /bin/sh in the way of the signal."""
    assert final["STOPSIGNAL"] == "SIGTERM"
    assert json.loads(final["ENTRYPOINT"]) == ["/docker-entrypoint.sh"]
    assert json.loads(final["CMD"]) == ["arun"]


def test_a_fallback_is_on_by_default_at_the_port_of_the_health_check(final: dict[str, str]) -> None:
    environ = dict(pair.split("=", 1) for pair in final["ENV"].split())
    assert environ["ARUN_FALLBACK_CONFIG"] == "welcome"
    assert environ["PORT"] == final["EXPOSE"]


def test_what_the_build_copies_exists_and_nothing_else_is_let_in(
    docker: Path, stages: list[list[tuple[str, str]]]
) -> None:
    """A new file at the root, such as one with a secret, never reaches the build."""
    copied = {
        source.rstrip("/")
        for stage in stages
        for keyword, rest in stage
        if keyword == "COPY" and "--from=" not in rest
        for source in [word for word in rest.split() if not word.startswith("--")][:-1]
    }
    missing = [source for source in copied if not (docker.parent / source).exists()]
    assert missing == []
    rules = [r for r in (docker / "Dockerfile.dockerignore").read_text().splitlines() if r and not r.startswith("#")]
    assert rules[0] == "*"
    assert {rule[1:] for rule in rules if rule.startswith("!")} == copied
    assert any(fnmatch.fnmatch("runner/arun/__pycache__", rule) for rule in rules[1:])


def test_both_names_of_the_ignore_file_are_one_file(docker: Path) -> None:
    """Docker reads the one beside the Dockerfile; other tools and people look for the other."""
    assert os.readlink(docker / ".dockerignore") == "Dockerfile.dockerignore"


@contextlib.contextmanager
def server_answering(status: int) -> Iterator[int]:
    """Serve one status on a port of loopback, the way any server would."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Keep quiet."""

    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()


def health(final: dict[str, str], port: int) -> int:
    """Run the probe of the image as the image would, and return its status."""
    command = json.loads(final["HEALTHCHECK"].partition("CMD ")[2])
    assert command[0] == "arun"
    environ = {"PATH": os.defpath, "PORT": str(port)}
    done = subprocess.run([str(ARUN), *command[1:]], env=environ, check=False, stderr=subprocess.DEVNULL, timeout=30)
    return done.returncode


@pytest.mark.parametrize(("status", "verdict"), [(200, 0), (302, 0), (404, 0), (500, 1), (503, 1)])
def test_an_instance_is_unhealthy_when_it_answers_with_a_server_error(
    final: dict[str, str], status: int, verdict: int
) -> None:
    """The page of a fallback is a 503: the container is up, and an orchestrator sees that it is not well."""
    with server_answering(status) as port:
        assert health(final, port) == verdict


def test_an_instance_that_does_not_answer_is_unhealthy(final: dict[str, str]) -> None:
    with socket.socket() as held:  # bound, not listening: no other process can take the port
        held.bind(("127.0.0.1", 0))
        assert health(final, held.getsockname()[1]) == 1
