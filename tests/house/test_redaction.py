"""What is masked in a text, and what is not: a traceback has to stay readable."""

from __future__ import annotations

import pytest

from arun.core.redaction import command_line, masked, secrets_of
from arun.settings import secret_flags

HIDDEN = {
    "postgresql://shop:pw@db/x": "postgresql://shop:***@db/x",
    "redis://:pw@cache:6379/0": "redis://:***@cache:6379/0",
    "amqp://a:p@w@mq/x and http://b:q@c": "amqp://a:***@mq/x and http://b:***@c",
    "postgresql://shop:p/w@db/x": "postgresql://shop:***@db/x",
    "host=db password=pw user=shop": "host=db password=*** user=shop",
    "connect(password='p w', user='shop')": "connect(password='***', user='shop')",
    "{'password': 'pw', 'user': 'shop'}": "{'password': '***', 'user': 'shop'}",
    '{"api_key": "pw", "n": 1}': '{"api_key": "***", "n": 1}',
    "GET /?token=pw&page=2": "GET /?token=***&page=2",
    "AWS_SECRET_ACCESS_KEY=pw": "AWS_SECRET_ACCESS_KEY=***",
    "DB_PWD=pw, x": "DB_PWD=***, x",
}
KEPT = [
    "http://example.org:8000/@me",
    "http://[::1]:8000/a?b=c@d",
    "sorted(names, key=lambda one: one.name)",
    "token = next_token()",
    "if token == other:",
    "SyntaxError: invalid token: foo",
    "certificate-key-mismatch: the key /etc/tls/key.pem belongs to another certificate",
    "--ssl-keyfile=/etc/tls/key.pem",
    "KeyError: 'password'",
    "SECRET_KEY_FILE=/run/secrets/key",
    "password:",
    "password=",
    "://",
    "a://b:c",
]


@pytest.mark.parametrize("text", HIDDEN)
def test_what_is_secret_is_masked(text: str) -> None:
    assert masked(text) == HIDDEN[text]


@pytest.mark.parametrize("text", KEPT)
def test_what_is_not_is_kept(text: str) -> None:
    assert masked(text) == text


def test_values_of_secret_variables_are_found_anywhere() -> None:
    found = secrets_of({"API_TOKEN": "abcdef", "PATH": "/usr/bin", "SHORT_TOKEN": "abc", "URL": "x://a:secret7@h"})
    assert found == ("secret7", "abcdef")
    assert masked("it was abcdef, with secret7", found) == "it was ***, with ***"


def test_a_command_line_is_written_as_a_shell_reads_it_without_secrets() -> None:
    words = [
        "arun",
        "-e",
        "A=b",
        "-eC=d",
        "--env=E=f",
        "--env",
        "G=h",
        "--ssl-keyfile-password",
        "pw",
        "--db-password=q",
    ]
    more = ["--bind", ":80", "it's", "", "x://a:b@c"]
    assert command_line([*words, *more], secret_flags()) == (
        "arun -e A=*** -eC=*** --env=E=*** --env G=*** --ssl-keyfile-password *** --db-password=*** "
        "--bind :80 'it'\"'\"'s' '' x://a:***@c"
    )
