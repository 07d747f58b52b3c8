"""The instances that are attacked: one for each kind of app and set of limits, for as long as the tests run."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.conftest import Instance, Starter, own_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIRROR = Path(__file__).parent.parent / "samples" / "mirror"

#: How each kind of app is started.
KINDS = {
    "asgi": ("mirror_asgi:app",),
    # A WSGI app is called when the whole body is here, so a body that stalls holds its answer up.
    "wsgi": ("mirror_wsgi:app", "--threads", "8", "--timeout-body", "2"),
    "inline": ("mirror_wsgi:app", "--threads", "0", "--timeout-body", "2"),
    "aiohttp": ("mirror_aiohttp:app",),
}


class Target:
    """An instance that mirrors what it is asked, and must still be there afterwards."""

    def __init__(self, kind: str, instance: Instance) -> None:
        self.kind = kind
        self.instance = instance
        self.address = instance.address
        self._smuggled = 0

    def assert_well(self) -> None:
        """Check that the same process answers, and that no smuggled request was run since the last look."""
        answer = self.instance.get("/pulse")
        assert answer.status == 200
        pulse = json.loads(answer.body)
        before, self._smuggled = self._smuggled, pulse["smuggled"]
        assert pulse["pid"] == self.instance.pid
        assert self._smuggled == before, "a smuggled request was run"


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Target]]:
    """Start an instance of a kind, with further arguments, for one test."""
    with contextlib.ExitStack() as stack:
        yield lambda kind, *arguments: _started(stack, tmp_path, kind, *arguments)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Target]]:
    """Start an instance of a kind, with further arguments, or return the one that another test has started."""
    running: dict[tuple[str, ...], Target] = {}
    with contextlib.ExitStack() as stack:

        def find(kind: str, *arguments: str) -> Target:
            key = (kind, *arguments)
            if key not in running or running[key].instance.process.poll() is not None:
                running[key] = _started(stack, tmp_path_factory.mktemp(kind), kind, *arguments)
            return running[key]

        yield find


@pytest.fixture(params=KINDS)
def target(request: pytest.FixtureRequest, shared: Callable[..., Target]) -> Target:
    """The instance of each kind with the limits it has by default."""
    return shared(request.param)


def _started(stack: contextlib.ExitStack, folder: Path, kind: str, *arguments: str) -> Target:
    starter = Starter(folder, own_address())
    stack.enter_context(contextlib.closing(starter))
    app = (*KINDS[kind], "--app-dir", str(MIRROR))
    return Target(kind, starter(*app, "--bind", "{address}", *arguments).ready())
