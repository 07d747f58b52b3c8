"""The handover as a successor reads it, also one of an older version, written before an upgrade of the package."""

from __future__ import annotations

import json
import os
import tempfile
from typing import Any

import pytest

from arun.core.addresses import Tcp, Unix
from arun.core.failures import FailureRecord
from arun.core.listen_spec import Certificate, ListenSpec, Tls
from arun.instance.fallback import ChainPolicy
from arun.instance.handover import VARIABLE, Handover, InheritedListener, take, write
from arun.instance.notices import Notice
from arun.instance.recovery_policy import RecoverPolicy
from arun.supervisor.contract import InheritedWorker

FIRST: dict[str, Any] = {
    "version": 1,
    "argv": ["arun", "app.py"],
    "cwd": "/srv",
    "listeners": [[3, "127.0.0.1:8080"], [4, "/run/app.sock"]],
    "failures": [],
    "tried": ["safe.ini"],
    "signals": -1,
}


def taken(fields: dict[str, Any]) -> Handover | None:
    with tempfile.TemporaryFile() as file:
        file.write(json.dumps(fields).encode())
        file.flush()
        return take({VARIABLE: str(os.dup(file.fileno()))})  # taking it closes the descriptor


def written(past: Handover) -> dict[str, Any]:
    with open(write(past), "rb") as file:
        file.seek(0)
        fields: dict[str, Any] = json.load(file)
        return fields


def test_what_is_written_is_what_is_taken() -> None:
    tls = Tls((Certificate("/c.pem", "/k.pem"), Certificate("/d.pem", "/d.pem")), "secret", origin="safe.ini:3")
    handover = Handover(
        ("arun", "app.py"),
        "/srv",
        (
            InheritedListener(3, ListenSpec(Tcp("127.0.0.1", 8443), tls, ("127.0.0.1",))),
            InheritedListener(4, ListenSpec(Tcp("127.0.0.1", 8080), None, ())),
            InheritedListener(5, ListenSpec(Unix("/run/app.sock"))),
        ),
        tried=("safe.ini",),
        wanted=(
            ListenSpec(Tcp("127.0.0.1", 8443), tls, origin="site.ini:2"),
            ListenSpec(Tcp("0.0.0.0", 8080), origin="--bind"),
        ),
        signals=6,
        detached=True,
        log_file="/var/log/arun.log",
        pidfiles=("/run/arun.pid",),
    )
    environ = {VARIABLE: str(write(handover)), "HOME": "/root"}
    assert take(environ) == handover
    assert environ == {"HOME": "/root"}


def test_specs_are_written_as_arun_0_1_wrote_listeners_and_wanted_addresses() -> None:
    """An upgrade from it, and the way back to it, cross this."""
    spec = ListenSpec(Tcp("127.0.0.1", 8443), Tls((Certificate("/c.pem", "/k.pem"),)), ("::1",), "--bind")
    fd = write(Handover(listeners=(InheritedListener(3, spec),), closed=(spec,), wanted=(spec,)))
    with open(fd, "rb") as file:
        file.seek(0)
        fields = json.load(file)
    tls = [[["/c.pem", "/k.pem"]], "", "1.2", "none", "", "", ""]
    assert fields["version"] == 2
    assert fields["listeners"] == [[3, "127.0.0.1:8443", tls, ["::1"]]]
    assert fields["closed"] == [[-1, "127.0.0.1:8443", tls, ["::1"]]]
    assert fields["wanted"] == [["127.0.0.1:8443", "--bind", tls, ["::1"]]]


def test_what_a_newer_arun_has_added_is_passed_over() -> None:
    """An upgrade may go either way, and a handover that is not understood loses the sockets in it."""
    record = FailureRecord("app-not-found", "load", "there is no app", "", "", "", "site.ini", 1.0)
    spec = ListenSpec(Tcp("127.0.0.1", 8443), Tls((Certificate("/c.pem", "/k.pem"),)), ("::1",))
    worker = InheritedWorker(7, 8, 1, is_leaving=True)
    tls = [[["/c.pem", "/k.pem", "newer"]], "", "1.2", "none", "", "", "", "newer"]
    fields = FIRST | {
        "version": 2,
        "listeners": [[3, "127.0.0.1:8443", tls, ["::1"], "newer"]],
        "wanted": [["127.0.0.1:8443", "", tls, ["::1"], "newer"]],
        "closed": [[-1, "127.0.0.1:8443", tls, ["::1"], "newer"]],
        "failures": [record.as_dict() | {"newer": 1}],
        "workers": [[*worker, "newer"]],
        "newer": {},
    }
    past = taken(fields)
    assert past is not None
    assert past.listeners == (InheritedListener(3, spec),)
    assert (past.wanted, past.closed) == ((spec,), (spec,))
    assert (past.failures, past.workers) == ((record,), (worker,))


def test_records_and_what_belongs_to_an_outage_cross_the_exec() -> None:
    record = FailureRecord("app-not-found", "load", "gone", "", "", "", "site.ini", 1.0, "K7Q2MX", 7, 0.5, 2, "arun x")
    ended = record._replace(versions={"python": "3.11.7"}, ended="recovered", ended_when=2.0)
    past = Handover(
        failures=(record,),
        earlier=(ended,),
        state_dir="/var/lib/arun",
        notices=(Notice(9, "on-fallback", 3.0),),
        generation=4,
    )
    assert taken(written(past)) == past


def test_everything_that_holds_for_a_chain_crosses_the_exec() -> None:
    chain = ChainPolicy(
        "exit", True, "<p>soon", RecoverPolicy(("watch",), 1.5, 9.0, "import"), "mail root", "json", "debug", "/-/"
    )
    other = ChainPolicy()
    assert [name for name in ChainPolicy._fields if getattr(chain, name) == getattr(other, name)] == []
    past = taken(written(Handover(chain=chain)))
    assert past is not None
    assert past.chain == chain


def test_what_holds_for_a_chain_stands_where_arun_0_1_wrote_and_reads_it() -> None:
    """There it was the first two."""
    fields = written(Handover(chain=ChainPolicy(last_resort="exit", debug=True)))
    assert (fields["last_resort"], fields["debug"]) == ("exit", True)
    past = taken({**FIRST, "version": 2, "last_resort": "exit", "debug": True})
    assert past is not None
    assert past.chain == ChainPolicy(last_resort="exit", debug=True)


def test_what_a_newer_arun_says_of_a_chain_is_passed_over() -> None:
    past = taken({**FIRST, "version": 2, "recover": [["every"], 2.0, 60.0, "full", "newer"], "newer": 1})
    assert past is not None
    assert past.chain == ChainPolicy(recover=RecoverPolicy(("every",)))


def test_a_record_of_an_arun_that_knew_less_is_understood() -> None:
    names = ("identifier", "stage", "sentence", "origin", "hint", "detail", "config")
    past = taken(FIRST | {"version": 2, "failures": [dict.fromkeys(names, "x") | {"when": 1.0}]})
    assert past is not None
    assert past.failures[0].mark() == ""


def test_listeners_of_a_handover_of_version_1_are_plain() -> None:
    past = taken(FIRST)
    assert past is not None
    assert past.listeners == (
        InheritedListener(3, ListenSpec(Tcp("127.0.0.1", 8080))),
        InheritedListener(4, ListenSpec(Unix("/run/app.sock"))),
    )
    assert past.wanted == (
        ListenSpec(Tcp("127.0.0.1", 8080), origin="inherited"),
        ListenSpec(Unix("/run/app.sock"), origin="inherited"),
    )
    assert (past.argv, past.cwd, past.tried) == (("arun", "app.py"), "/srv", ("safe.ini",))
    assert (past.detached, past.log_file) == (False, "")
    assert all(listener.spec.is_plain for listener in past.listeners)


@pytest.mark.parametrize("version", [0, 3, "2"])
def test_handover_of_a_version_that_is_not_known_is_refused(version: object) -> None:
    with pytest.raises(ValueError, match=f"it is of version {version}"):
        taken({**FIRST, "version": version})
