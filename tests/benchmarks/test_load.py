"""What the benchmarks tell is what was measured: verdicts, ratios per round, tables, and clients that see failures."""

from __future__ import annotations

import os
import socket
import threading
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Import = Callable[[str], Any]


def samples(load_report: Any, rates: list[float]) -> list[Any]:
    """Bursts of these rates, at each of which the server takes the whole of a core."""
    return [load_report.Sample(rate, rate, 1e6 / rate, 1.0, 2.0, 1000.0, 500.0, 0) for rate in rates]


def told(module: Import, **rates: list[float]) -> dict[str, Any]:
    """Report of a hello case; the keywords are the labels of servers, with ``_`` for a blank."""
    load_report, cases = module("load_report"), module("cases")
    rows = {name.replace("_", " "): samples(load_report, values) for name, values in rates.items()}
    case = next(case for case in cases.CASES if case.name == "hello")
    report: dict[str, Any] = {
        "when": "today",
        "machine": {"cpus": 2, "architecture": "x", "kernel": "k", "load": 0.5},
        "versions": {"arun-server": "1"},
    }
    flat = {f"hello: {label}": row for label, row in rows.items()}
    results = load_report.Results(rows, {}, {"uwsgi wsgi": "it is not there"})
    figures = module("figures")
    report["cases"] = {"hello": load_report._case(case, results)}
    report["wanted"] = [figures.judge(wanted, flat) for wanted in load_report._wanted()]
    return report


def verdicts(report: dict[str, Any]) -> dict[str, str]:
    return {item["claim"]: item["verdict"] for item in report["wanted"]}


def test_a_ratio_is_taken_round_by_round_not_of_the_medians(module: Import) -> None:
    """A machine that halves its speed between two rounds changes no ratio."""
    report = told(module, arun_asgi=[100, 200, 50], granian_asgi=[50, 100, 25])
    ratio = report["cases"]["hello"]["ratios"]["arun asgi / granian asgi"]["rate"]
    assert (ratio["low"], ratio["median"], ratio["high"]) == (2, 2, 2)


@pytest.mark.parametrize(("rate", "verdict"), [(220.0, "reached"), (219.0, "missed")])
def test_a_speed_is_wanted_at_least(module: Import, rate: float, verdict: str) -> None:
    report = told(module, arun_asgi=[rate], uvicorn_asgi=[100.0])
    assert verdicts(report)["hello, by CPU time: arun asgi / uvicorn asgi"] == verdict


def test_what_was_not_measured_has_no_verdict(module: Import) -> None:
    report = told(module, arun_asgi=[100.0])
    assert set(verdicts(report).values()) == {"not measured"}


def test_the_table_tells_servers_ratios_and_who_was_left_out_and_why(module: Import) -> None:
    text = module("load_report").markdown(told(module, arun_asgi=[4000.0], uvicorn_asgi=[1000.0]))
    assert "| hello, by CPU time: arun asgi / uvicorn asgi | >= 2.2 | 4.00 | 4.00 to 4.00 | 4.00 | reached |" in text
    assert "| arun asgi | 250.0 | 250.0 to 250.0 | 4,000 | 4,000 to 4,000 | 1.00 | 2.00 |" in text
    assert "| arun asgi / uvicorn asgi | 4.00 |" in text
    assert "uwsgi wsgi is left out: it is not there" in text


def test_the_report_leads_with_where_arun_is_first_and_says_who_is_ahead_where_it_is_not(module: Import) -> None:
    report = told(
        module, arun_asgi=[3000.0], uvicorn_asgi=[1000.0], arun_wsgi=[100.0], uwsgi_wsgi=[300.0], granian_wsgi=[200.0]
    )
    text = module("load_report").markdown(report)
    first, behind = text.split("## Where it is not, and why")
    assert "## Where arun is first: 1 of 2" in first
    assert (
        "| hello: 5 bytes | arun asgi | 333.3 | uvicorn asgi | 1000.0 | **3.00** | 3.00 x uvicorn asgi (3,000 req/s) |"
        in first
    )
    assert "| hello: 5 bytes | arun wsgi | 10000.0 | uwsgi wsgi | 3333.3 | **0.33** |" in behind
    assert behind.index("uwsgi wsgi (HTTP and WSGI in C") < behind.index("; granian wsgi (HTTP in Rust")


def test_a_case_with_two_workers_compares_those_of_two(module: Import) -> None:
    load_report = module("load_report")
    servers = {
        label: {"cpu": {"median": cpu}, "rate": {"median": 1.0}}
        for label, cpu in (
            ("arun asgi", 1.0),
            ("granian asgi", 0.5),
            ("arun asgi, 2 workers", 2.0),
            ("granian asgi, 2 workers", 3.0),
        )
    }
    text = "\n".join(load_report._places({"workers": {"about": "two", "servers": servers}}))
    assert "Where arun is first: 1 of 1" in text
    assert "| arun asgi, 2 workers | 2.0 | granian asgi, 2 workers | 3.0 | **1.50** |" in text


def test_arun_is_compared_with_peers_of_its_kind_and_with_itself_under_the_same_condition(module: Import) -> None:
    labels = ["arun asgi", "granian asgi", "granian wsgi", "arun asgi, 10,000 idle", "granian asgi, 10,000 idle"]
    assert set(module("load_report")._pairs(labels)) == {
        ("arun asgi", "granian asgi"),
        ("arun asgi, 10,000 idle", "granian asgi, 10,000 idle"),
        ("arun asgi, 10,000 idle", "arun asgi"),
        ("granian asgi, 10,000 idle", "granian asgi"),
    }


def test_every_wanted_figure_names_servers_that_take_part_in_its_case(module: Import) -> None:
    cases, load_report, servers = module("cases"), module("load_report"), module("servers")
    programs, kinds = ({getattr(s, what) for s in servers.SERVERS} for what in ("program", "kind"))
    there = {
        f"{case.name}: {entrant.label}" for case in cases.CASES for entrant in cases.entrants(case, programs, kinds)
    }
    wanted = load_report._wanted()
    assert wanted
    assert {name for item in wanted for name in (item.case, item.peer)} <= there


def test_servers_that_have_no_setting_for_it_hold_no_idle_ones(module: Import) -> None:
    cases = module("cases")
    case = next(case for case in cases.CASES if case.idle)
    assert not cases.entrants(case, {"uwsgi"}, {"wsgi"})
    labels = [entrant.label for entrant in cases.entrants(case, {"arun"}, {"asgi"})]
    assert labels == ["arun asgi", "arun asgi, 10,000 idle"]


def test_a_server_takes_part_with_one_worker_and_two_where_it_can(module: Import) -> None:
    cases = module("cases")
    case = next(case for case in cases.CASES if case.workers)
    commands = {entrant.label: entrant.command for entrant in cases.entrants(case, {"arun", "fastpysgi"}, {"asgi"})}
    assert list(commands) == ["arun asgi", "arun asgi, 2 workers"]
    assert commands["arun asgi, 2 workers"] == f"{commands['arun asgi']} --workers 2"


@pytest.fixture
def server() -> Iterator[Callable[[Callable[[socket.socket], None]], int]]:
    """Serve each connection with a function, in threads; return the port."""
    with closing(socket.create_server(("127.0.0.1", 0), backlog=128)) as listener:

        def accept(serve: Callable[[socket.socket], None]) -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=serve, args=(connection,), daemon=True).start()

        def start(serve: Callable[[socket.socket], None]) -> int:
            threading.Thread(target=accept, args=(serve,), daemon=True).start()
            port: int = listener.getsockname()[1]
            return port

        yield start
        # accept() in the other thread does not see a close, only a shutdown.
        listener.shutdown(socket.SHUT_RDWR)


def websocket(*, honest: bool) -> Callable[[socket.socket], None]:
    def serve(connection: socket.socket) -> None:
        # The client goes when its time is over, in the middle of a message.
        with suppress(ConnectionError), connection, connection.makefile("rb") as reader:
            while reader.readline() not in {b"\r\n", b""}:
                pass
            connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\n\r\n")
            while frame := reader.read(6 + 64):
                unmasked = bytes(byte ^ frame[2 + place % 4] for place, byte in enumerate(frame[6:]))
                body = unmasked if honest else b"x" * 64
                connection.sendall(b"\x81\x40" + body)

    return serve


def websocket_case(module: Import) -> Any:
    return next(case for case in module("cases").CASES if case.message == 64)


def test_the_websocket_client_counts_echoes(module: Import, server: Any) -> None:
    port = server(websocket(honest=True))
    burst = module("clients").burst(websocket_case(module), port, 1, lambda: 0.0)
    assert burst.requests >= 1
    assert burst.p99 > 0
    assert burst.errors == 0


def test_the_websocket_client_counts_other_bytes_as_errors(module: Import, server: Any) -> None:
    port = server(websocket(honest=False))
    burst = module("clients").burst(websocket_case(module), port, 1, lambda: 0.0)
    assert burst.requests == 0
    assert burst.errors == module("clients").CONNECTIONS


def test_idle_connections_that_the_server_closes_are_counted_and_opened_anew(module: Import, server: Any) -> None:
    served: list[socket.socket] = []

    def once(connection: socket.socket) -> None:
        served.append(connection)
        connection.recv(4096)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello")

    with module("clients").holding(server(once), 3) as idle:
        assert idle.renew() == 0
        served[0].close()
        assert idle.renew() == 1
        assert len(served) == 4
        assert idle.renew() == 0
    for connection in served:
        connection.close()


def test_idle_connections_that_are_refused_are_an_error_that_says_how_far_they_came(module: Import) -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with pytest.raises(ConnectionError, match="0 of 3 were answered"), module("clients").holding(port, 3):
        pass


def test_an_answer_without_a_length_ends_with_its_connection(module: Import) -> None:
    complete = module("instances").complete
    assert not complete(b"HTTP/1.1 200 OK\r\n\r\nsome", ended=False)
    assert complete(b"HTTP/1.1 200 OK\r\n\r\nsome", ended=True)
    assert not complete(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nsome", ended=True)
    assert complete(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ended=False)


def test_the_cpu_time_of_a_process_grows_with_its_work(module: Import) -> None:
    cpu_seconds = module("instances").cpu_seconds
    begin = cpu_seconds(os.getpid())
    while (now := cpu_seconds(os.getpid())) == begin:
        sum(range(10_000))
    assert now > begin > 0
