"""Hostile and odd conversations, each with each kind of app: what comes of them stands in the tables."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from tests.hostile import cases_conversation, cases_fields, cases_framing, cases_lines
from tests.hostile.expectations import Case, Refused, Seen, Served, WaitFor
from tests.hostile.wire import Answer, Client, client, read_answers

if TYPE_CHECKING:
    from tests.hostile.conftest import Target

CASES = {
    case.name: case for table in (cases_lines, cases_fields, cases_framing, cases_conversation) for case in table.CASES
}
#: What is added to a conversation that must be over: whoever answers it has been led astray.
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
LAST = b"GET /last HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"


def test_there_are_as_many_cases_as_were_promised_and_no_name_is_there_twice() -> None:
    assert len(CASES) >= 164
    assert len(CASES) == sum(
        len(table.CASES) for table in (cases_lines, cases_fields, cases_framing, cases_conversation)
    )


@pytest.mark.parametrize("name", CASES)
def test_conversation(target: Target, name: str) -> None:
    case = CASES[name]
    wanted = case.wanted_of(target.kind)
    try:
        with client(target.address) as connection:
            got = _talk(connection, case, wanted)
    finally:
        target.assert_well()
    problems = [_problem(target.kind, outcome, got) for outcome in wanted]
    assert "" in problems, f"{' / '.join(problems)}; {case.why}; got {_shown(got)}"


class Got:
    """What came of a conversation: its answers, and those after a last request if the connection was usable."""

    def __init__(self, answers: list[Answer], rest: bytes, *, last: bool) -> None:
        self.answers = answers
        self.rest = rest
        #: The answer to a request that was sent when all had been answered.
        self.last = last


def _talk(connection: Client, case: Case, wanted: tuple[Refused | Served, ...]) -> Got:
    """Hold the conversation to its end: until the server closes, after a last request if it takes one."""
    methods = _methods(wanted[0])
    for piece in case.pieces:
        if isinstance(piece, bytes):
            connection.send(piece)
        elif isinstance(piece, WaitFor):
            connection.until_contains(piece.text)
        else:
            connection.half_close()
    if not any(isinstance(outcome, Served) for outcome in wanted):
        connection.send(SMUGGLED)
        answers, rest = read_answers(connection.read_to_end(), ended=True, methods=methods)
        return Got(answers, rest, last=False)
    count = max(len(outcome.seen) for outcome in wanted if isinstance(outcome, Served))
    connection.answers(count, methods)
    connection.send(LAST)
    answers, rest = read_answers(connection.read_to_end(), ended=True, methods=methods)
    last = len(answers) > 1 and b"/last" in answers[-1].body
    return Got(answers[:-1] if last else answers, rest, last=last)


def _methods(wanted: Refused | Served) -> list[str]:
    return [seen.method for seen in (wanted.after if isinstance(wanted, Refused) else wanted.seen)]


def _problem(kind: str, wanted: Refused | Served, got: Got) -> str:
    """Say what is wrong with a conversation; nothing if it is as wanted."""
    if isinstance(wanted, Refused):
        return _problem_of_refusal(kind, wanted, got)
    if len(got.answers) != len(wanted.seen):
        return f"{len(got.answers)} answers instead of {len(wanted.seen)}"
    for answer, seen in zip(got.answers, wanted.seen, strict=True):
        if problem := _problem_of_answer(kind, seen, answer):
            return problem
    if got.rest:
        return f"bytes behind the last answer: {got.rest[:100]!r}"
    if got.last != wanted.usable:
        return "the connection was usable" if got.last else "the connection was closed"
    if wanted.told and not wanted.usable and not got.answers[-1].closes:
        return "closed without having said so"
    return ""


def _problem_of_refusal(kind: str, wanted: Refused, got: Got) -> str:
    before, refusals = got.answers[: len(wanted.after)], got.answers[len(wanted.after) :]
    if len(before) != len(wanted.after):
        return f"{len(before)} answers before the refusal instead of {len(wanted.after)}"
    for answer, seen in zip(before, wanted.after, strict=True):
        if problem := _problem_of_answer(kind, seen, answer):
            return problem
    statuses = tuple(answer.status for answer in refusals) or (0,)
    if len(statuses) != 1 or statuses[0] not in wanted.statuses:
        return f"statuses {statuses} instead of {wanted.statuses}"
    if got.last or got.rest:
        return f"something after the refusal: {got.rest[:100]!r}"
    if refusals and not refusals[0].closes:
        return "refused without having said that the connection closes"
    if refusals and not refusals[0].complete:
        return "the refusal is incomplete"
    return ""


def _problem_of_answer(kind: str, wanted: Seen, answer: Answer) -> str:
    if answer.status != wanted.status:
        return f"status {answer.status} instead of {wanted.status}"
    if not answer.complete:
        return "the answer is incomplete"
    if wanted.continued is not None and answer.continued != wanted.continued:
        return f"{answer.continued} interim answers instead of {wanted.continued}"
    if wanted.ignored or wanted.status != 200:
        return ""
    saw = json.loads(answer.body)
    fields: dict[str, list[str]] = {}
    for name, value in saw["fields"]:
        fields.setdefault(name, []).append(value)
    for name in ("method", "path", "raw_path", "query"):
        expected = getattr(wanted, name)
        if expected is not None and saw[name] != expected:
            return f"{name} {saw[name][:100]!r} instead of {expected[:100]!r}"
    if wanted.body is not None and saw["body"] != wanted.body.decode("latin-1"):
        return f"body {saw['body'][:100]!r} instead of {wanted.body[:100]!r}"
    return _problem_of_fields(kind, wanted, fields)


def _problem_of_fields(kind: str, wanted: Seen, fields: dict[str, list[str]]) -> str:
    for name, value in wanted.fields:
        if fields.get(name) != [value]:
            return f"field {name}: {fields.get(name)} instead of {value[:100]!r}"
    absent = wanted.absent + (wanted.wsgi_absent if kind in {"wsgi", "inline"} else ())
    return next((f"the app was given {name}: {fields[name]}" for name in absent if name in fields), "")


def _shown(got: Got) -> str:
    return f"{[(one.status, one.body[:80]) for one in got.answers[:4]]} {got.rest[:100]!r} last={got.last}"
