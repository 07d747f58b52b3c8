"""From a voice, a language and a form to the bytes of a response body: HTML, plain text, JSON. Values in, bytes out."""

from __future__ import annotations

import os
import time

from arun.core.values import Value
from arun_welcome.texts import WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from arun.core.failures import FailureRecord
    from arun_welcome.negotiation import Format, Language
    from arun_welcome.texts import Voice, Wait, Words

__all__ = ("Shown", "fill", "fill_own", "render", "wait")

_PAGE = os.path.join(os.path.dirname(__file__), "page.html")
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("'"): "&#39;"}
_TOLD_ON_A_LINE = ("id", "origin", "config", "when", "hint")
#: What a page tells of a failure.
_TOLD = ("identifier", "stage", "sentence", *_TOLD_ON_A_LINE, "detail")
#: Voices in which nobody learns what serves here.
_ANONYMOUS = frozenset({"pause", "offline"})
_MINUTE, _HOUR = 60, 3600


class Shown(Value):
    """What a body depends on, beside the failures themselves.

    ``wait`` is how long it takes until the primary is tried again, ``offline`` the text of an operator who has taken the app
    offline, ``id`` that of the failed start. ``reloads``: the page reloads itself. ``told``: the failures are shown.
    """

    voice: Voice
    language: Language
    format: Format
    status: int
    wait: tuple[Wait, int] = ("unknown", 0)
    offline: str | None = None
    id: str = ""
    reloads: bool = False
    told: bool = False

    @property
    def words(self) -> Words:
        """The texts in its language."""
        return WORDS[self.language]

    @property
    def lead(self) -> tuple[str, ...]:
        """The sentences under the heading."""
        first, *rest = self.words["pages"][self.voice]["lead"]
        sentences = [self.offline or first, *rest]  # instead of the sentence that says as much
        if self.voice == "pause":
            name, number = self.wait
            sentences.append(self.words["waits"][name].replace("{n}", str(number)))
        if self.reloads:
            sentences.append(self.words["reloads"])
        return tuple(sentences)

    @property
    def reference(self) -> str:
        """What a visitor can quote; empty where there is nothing to quote."""
        return self.words["reference"].replace("{id}", self.id) if self.id and self.voice == "pause" else ""


def wait(seconds: float | None) -> tuple[Wait, int]:
    """Return the words for a time until the next try, and their number: rounded, so that few bodies have to be made."""
    if seconds is None:
        return "unknown", 0
    if seconds <= 7:  # noqa: PLR2004 - "about 10 seconds" begins behind it
        return "moment", 0
    if seconds <= 55:  # noqa: PLR2004 - in tens
        return "seconds", min(50, max(10, round(seconds / 10) * 10))
    if seconds < 1.5 * _MINUTE:
        return "minute", 0
    return ("minutes", round(seconds / _MINUTE)) if seconds < _HOUR else ("hours", 0)


def render(shown: Shown, failures: Iterable[FailureRecord] = ()) -> bytes:
    """Return a body; the failures stand in it where they are told.

    Raises:
        OSError: page.html cannot be read.
        ImportError: a module of the standard library cannot be read. Plain text without failures raises neither.
    """
    causes = [_cause(failure) for failure in failures] if shown.told else []
    if shown.format == "text/html":
        return _html(shown, causes).encode(errors="replace")
    if shown.format == "text/plain":
        return _text(shown, causes).encode(errors="replace")
    return _problem(shown, causes)


def fill_own(page: str, shown: Shown) -> bytes:
    """Return a page of the user's own with the texts put in that it asks for: ``{{text}}`` and ``{{id}}``."""
    text = _escape(shown.words["space"].join(shown.lead))
    return page.replace("{{id}}", _escape(shown.id)).replace("{{text}}", text).encode(errors="replace")


def fill(template: str, values: dict[str, str]) -> str:
    """Put the values where the template names them, ``{{name}}``; a value that holds braces stays as it is."""
    head, *rest = template.split("{{")
    return head + "".join(values[name] + text for name, _, text in (part.partition("}}") for part in rest))


def _cause(failure: FailureRecord) -> dict[str, str]:
    """Return the failure as printable texts, so that no value of it can steer a terminal or break the encoding."""
    from arun.core.failures import printable

    values = failure.as_dict() | {"when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(failure.when))}
    return {
        name: "\n".join(map(printable, str(text).expandtabs(4).splitlines()))
        for name, text in values.items()
        if name in _TOLD
    }


def _html(shown: Shown, causes: list[dict[str, str]]) -> str:
    words, voice = shown.words, shown.voice
    page = words["pages"][voice]
    with open(_PAGE, encoding="utf-8") as file:
        template = file.read()
    is_anonymous = voice in _ANONYMOUS
    return fill(
        template,
        {
            "lang": shown.language,
            "voice": voice,
            "name": "" if is_anonymous else "<span>arun</span>\n",
            "title": _escape(page["title"]),
            "heading": _escape(page["heading"]),
            "lead": _escape(words["space"].join(shown.lead)),
            "main": "\n".join(_sections(words, voice, causes)),
            "foot": _escape(shown.reference if is_anonymous else words["motto"]),
            "status": str(shown.status),
        },
    )


def _sections(words: Words, voice: Voice, causes: list[dict[str, str]]) -> Iterator[str]:
    if voice == "welcome":
        yield f'<section aria-labelledby="next">\n<h2 id="next">{_escape(words["next_heading"])}</h2>\n<dl class="commands">'
        for command, meaning in words["commands"]:
            yield f"<div><dt><code>{_escape(command)}</code></dt><dd>{_escape(meaning)}</dd></div>"
        yield "</dl>\n</section>"
    elif voice in _ANONYMOUS:
        # An empty reference is the address that was asked for, whatever it was, without repeating it.
        yield f'<p><a class="go" href="">{_escape(words["retry"])}</a></p>'
        if causes:
            yield f'<section aria-labelledby="causes">\n<h2 id="causes">{_escape(words["causes_heading"])}</h2>'
            yield from (_cause_in_html(words, cause) for cause in causes)
            yield f"<p>{_escape(words['causes_note'])}</p>\n</section>"
    else:
        yield f'<p><a class="go" href="/">{_escape(words["home"])}</a></p>'


def _cause_in_html(words: Words, cause: dict[str, str]) -> str:
    labels = words["cause_labels"]
    rows = "".join(
        f'<div><dt>{_escape(labels[name])}</dt><dd lang="en">{_escape(cause[name])}</dd></div>\n'
        for name in _TOLD_ON_A_LINE
        if cause[name]
    )
    detail = (
        f'<pre aria-label="{_escape(labels["detail"])}">{_escape(cause["detail"])}</pre>\n' if cause["detail"] else ""
    )
    return (
        f'<article class="cause">\n<h3><code>{_escape(cause["identifier"])}</code></h3>\n'
        f'<p lang="en">{_escape(cause["sentence"])}</p>\n<dl>\n{rows}</dl>\n{detail}</article>'
    )


def _text(shown: Shown, causes: list[dict[str, str]]) -> str:
    words, voice = shown.words, shown.voice
    lines = [words["pages"][voice]["heading"], "", *shown.lead, ""]
    if voice == "welcome":
        lines += [words["next_heading"], ""]
        for command, meaning in words["commands"]:
            lines += [f"    {command}", f"        {meaning}", ""]
    elif causes:
        lines += [words["causes_heading"], "", *_causes_in_text(words, causes), words["causes_note"], ""]
    foot = shown.reference if voice in _ANONYMOUS else words["motto"]
    return "\n".join([*lines, foot, ""] if foot else lines)


def _causes_in_text(words: Words, causes: Iterable[dict[str, str]]) -> Iterator[str]:
    for cause in causes:
        yield f"{cause['identifier']}: {cause['sentence']}"
        yield from (f"    {words['cause_labels'][name]}: {cause[name]}" for name in _TOLD_ON_A_LINE if cause[name])
        yield from (f"    | {line}" for line in cause["detail"].splitlines())
        yield ""


def _problem(shown: Shown, causes: list[dict[str, str]]) -> bytes:
    """Return a problem document (RFC 9457). Its type is about:blank: the status is all that a program needs."""
    import json

    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": shown.words["pages"][shown.voice]["title"],
        "status": shown.status,
        "detail": shown.words["space"].join(shown.lead),
    }
    if shown.reference:
        problem["id"] = shown.id
    if causes:
        problem["failures"] = causes
    return json.dumps(problem, ensure_ascii=False, indent=2).encode(errors="replace") + b"\n"


def _escape(text: str) -> str:
    # The five characters by a table: the html module brings all entities of HTML with it, for a fifth of a start.
    return text.translate(_ESCAPES)
