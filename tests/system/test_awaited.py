"""The addresses that drivers name when they are refused, read out of what they say (their own words, as of 2026)."""

from __future__ import annotations

import pytest

from arun.recovery.awaited import Awaited, find

TEXTS = {
    "asyncio": ("[Errno 111] Connect call failed ('127.0.0.1', 5432)", [Awaited("127.0.0.1", 5432)]),
    "asyncio, IPv6": ("[Errno 111] Connect call failed ('::1', 5432, 0, 0)", [Awaited("::1", 5432)]),
    "asyncpg": (
        (
            "OSError: Multiple exceptions: [Errno 111] Connect call failed ('::1', 5432, 0, 0), "
            "[Errno 111] Connect call failed ('127.0.0.1', 5432)"
        ),
        [Awaited("::1", 5432), Awaited("127.0.0.1", 5432)],
    ),
    "aiohttp": (
        "Cannot connect to host 127.0.0.1:8123 ssl:default [Connect call failed ('127.0.0.1', 8123)]",
        [Awaited("127.0.0.1", 8123)],
    ),
    "libpq": (
        (
            'connection to server at "127.0.0.1", port 5432 failed: Connection refused\n'
            "\tIs the server running on that host and accepting TCP/IP connections?"
        ),
        [Awaited("127.0.0.1", 5432)],
    ),
    "libpq, a name": (
        'connection to server at "db.invalid" (127.0.0.9), port 5433 failed: Connection refused',
        [Awaited("127.0.0.9", 5433)],
    ),
    "libpq, a socket": (
        (
            'connection to server on socket "/var/run/postgresql/.s.PGSQL.5432" failed: No such file or directory\n'
            "\tIs the server running locally and accepting connections on that socket?"
        ),
        [Awaited("/var/run/postgresql/.s.PGSQL.5432")],
    ),
    "libpq before 14": (
        (
            "could not connect to server: Connection refused\n"
            '\tIs the server running on host "127.0.0.1" and accepting\n\tTCP/IP connections on port 5432?'
        ),
        [Awaited("127.0.0.1", 5432)],
    ),
    "redis": ("Error 111 connecting to 127.0.0.1:6379. Connection refused.", [Awaited("127.0.0.1", 6379)]),
    "redis, a socket": (
        "Error 2 connecting to unix socket: /run/redis/redis.sock. No such file or directory.",
        [Awaited("/run/redis/redis.sock")],
    ),
    "PyMongo": (
        "127.0.0.1:27017: [Errno 111] Connection refused (configured timeouts: ...)",
        [Awaited("127.0.0.1", 27017)],
    ),
    "mysqlclient": (
        "(2002, \"Can't connect to MySQL server on '127.0.0.1:3306' (111)\")",
        [Awaited("127.0.0.1", 3306)],
    ),
    "mysqlclient, a socket": (
        "Can't connect to local MySQL server through socket '/run/mysqld/mysqld.sock' (2)",
        [Awaited("/run/mysqld/mysqld.sock")],
    ),
    "urllib3": (
        (
            "HTTPConnectionPool(host='127.0.0.1', port=9200): Max retries exceeded with url: / (Caused by "
            "NewConnectionError('Failed to establish a new connection: [Errno 111] Connection refused'))"
        ),
        [Awaited("127.0.0.1", 9200)],
    ),
    "nothing of the kind": ("ValueError: '127.0.0.1:80' is no colour at 12:30: sorry", []),
    "a source line": ('Traceback:\n    connect("10.0.0.1", port=5432)\nOSError: refused', []),
}


@pytest.mark.parametrize(("text", "expected"), TEXTS.values(), ids=TEXTS)
def test_the_address_is_found_in_the_words_of_a_driver(text: str, expected: list[Awaited]) -> None:
    assert sorted(find([text])) == sorted(expected)


def test_a_name_becomes_numeric_addresses() -> None:
    assert Awaited("127.0.0.1", 6379) in find(["Error 111 connecting to localhost:6379. Connection refused."])
    assert find(["Error -2 connecting to no-such-host.invalid:6379. Name or service not known."]) == ()
