"""The same app and the same bytes, served by arun and by others: benign requests get the same answers."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tests.conftest import own_address
from tests.hostile import cases_conversation, cases_fields, cases_framing, cases_lines
from tests.hostile.conftest import MIRROR
from tests.hostile.expectations import Case, Served
from tests.hostile.wire import PATIENCE, client, read_answers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hostile.conftest import Target

#: How the others serve the two mirrors.
ORACLES = {
    "asgi": ("uvicorn", "mirror_asgi:app", "--http", "httptools", "--loop", "uvloop", "--no-access-log"),
    "wsgi": ("gunicorn", "mirror_wsgi:app", "--threads", "4"),
}


def _is_benign(case: Case) -> bool:
    """Whether a case is a conversation for which there is one right outcome, and that is an answer."""
    return (
        len(case.wanted) == 1
        and isinstance(case.wanted[0], Served)
        and len(case.wanted[0].seen) == 1
        and case.wanted[0].seen[0].method != "HEAD"
        and all(isinstance(piece, bytes) for piece in case.pieces)
    )


BENIGN = {
    case.name: case
    for table in (cases_lines, cases_fields, cases_framing, cases_conversation)
    for case in table.CASES
    if _is_benign(case)
}
_ABSOLUTE = "the other keeps the Host field beside a target that replaces it (RFC 9112 3.2.2)"
_OWS = "uvicorn takes white space behind a value for a part of it (RFC 9110 5.5)"
_GATHERED = "gunicorn calls the app before the body is here, so that a slow client holds its thread"
#: Where the others differ, and why arun does not do the same.
DIFFERENCES = {
    "asgi": {
        "absolute form": _ABSOLUTE,
        "absolute form of https": _ABSOLUTE,
        "absolute form in capitals": _ABSOLUTE,
        "absolute form with a port": _ABSOLUTE,
        "absolute form in 1.0": _ABSOLUTE,
        "absolute form without a path": "uvicorn refuses a valid target (RFC 9112 3.2.2)",
        "absolute form with a query only": "uvicorn refuses a valid target (RFC 9112 3.2.2)",
        "Host with white space around": _OWS,
        "white space is no value": _OWS,
        "length with white space around": _OWS,
        "chunks: trailer": "uvicorn may merge trailers into the header fields, which it must not (RFC 9110 6.5.1)",
        "h2c with a body": "uvicorn loses the body of a request whose upgrade it does not take",
    },
    "wsgi": {
        "absolute form": _ABSOLUTE,
        "absolute form of https": _ABSOLUTE,
        "absolute form in capitals": _ABSOLUTE,
        "absolute form with a port": _ABSOLUTE,
        "absolute form in 1.0": _ABSOLUTE,
        "absolute form without a path": "gunicorn gives an empty path where / is meant (RFC 9112 3.2.1), and "
        + _ABSOLUTE,
        "absolute form with a query only": "gunicorn gives an empty path where / is meant, and " + _ABSOLUTE,
        "target of 8,000 bytes": "gunicorn takes 4,094 bytes by default, RFC 9112 3 asks for 8,000",
        "Proxy": "gunicorn makes HTTP_PROXY of it (CVE-2016-5385)",
        "body that never ends": _GATHERED,
        "chunks that never end": _GATHERED,
        "Cookie twice": "gunicorn joins cookies with a comma, which is part of a value (RFC 6265 5.4)",
    },
}


@pytest.fixture(scope="session")
def oracle() -> Iterator[Callable[[str], str]]:
    """Start the other server for a kind of app, once, and return its address."""
    running: dict[str, str] = {}
    with contextlib.ExitStack() as stack:

        def start(kind: str) -> str:
            if kind not in running:
                running[kind] = address = own_address()
                _start(stack, kind, address)
            return running[kind]

        yield start


def _start(stack: contextlib.ExitStack, kind: str, address: str) -> None:
    host, port = address.split(":")
    program, *arguments = ORACLES[kind]
    where = ["--bind", address] if kind == "wsgi" else ["--host", host, "--port", port]
    process = subprocess.Popen(
        [str(Path(sys.executable).parent / program), *arguments, *where],
        cwd=MIRROR,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    stack.callback(process.wait, PATIENCE)
    stack.callback(process.terminate)
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            socket.create_connection((host, int(port)), 1).close()
        except ConnectionRefusedError:
            assert time.monotonic() < deadline
            assert process.poll() is None
            time.sleep(0.02)
        else:
            return


@pytest.mark.parametrize("kind", ORACLES)
@pytest.mark.parametrize("name", BENIGN)
def test_benign_request_gets_the_same_answer(
    shared: Callable[..., Target], oracle: Callable[[str], str], kind: str, name: str
) -> None:
    case = BENIGN[name]
    ours, theirs = _answer(shared(kind).address, case), _answer(oracle(kind), case)
    if name in DIFFERENCES[kind]:
        assert ours != theirs, "the difference is gone: take it out of the table"
    else:
        assert ours == theirs


def _answer(address: str, case: Case) -> tuple[int, Any]:
    """Return status and body of the first answer; the fields in the body in a defined order."""
    with client(address) as connection:
        for piece in case.pieces:
            assert isinstance(piece, bytes)
            connection.send(piece)
        connection.half_close()
        answers, _ = read_answers(connection.read_to_end(), ended=True)
    if not answers:
        return 0, b""
    status, body = answers[0].status, answers[0].body
    if status != 200 or not body.startswith(b"{"):
        return status, body if status == 200 else b""
    seen = json.loads(body)
    seen["fields"].sort()
    return status, seen
