"""From a voice, a language and a form to the bytes of a response body: HTML, plain text, JSON. Values in, bytes out."""

from __future__ import annotations

import os
import time

from arun.core.outlook import Outlook
from arun_welcome.texts import WORDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any

    from arun.core.failures import FailureRecord
    from arun_welcome.negotiation import Format, Language
    from arun_welcome.texts import Voice, Words

__all__ = ("fill", "render")

_PAGE = os.path.join(os.path.dirname(__file__), "page.html")
_ESCAPES = {ord("&"): "&amp;", ord("<"): "&lt;", ord(">"): "&gt;", ord('"'): "&quot;", ord("'"): "&#39;"}
_TOLD_ON_A_LINE = ("origin", "config", "when", "hint")


def render(voice: Voice, language: Language, format_: Format, *, status: int, outlook: Outlook | None = None) -> bytes:
    """Return the body for a voice, with the failures of the outlook, and its text.

    Raises:
        OSError: page.html cannot be read.
        ImportError: a module of the standard library cannot be read. Plain text without failures raises neither.
    """
    words, now = WORDS[language], outlook or Outlook()
    causes = [_cause(failure) for failure in now.failures]
    lead: tuple[str, ...] = words["pages"][voice]["lead"]
    if now.offline:
        lead = (now.offline, *lead[1:])  # instead of the sentence that says as much
    if format_ == "text/html":
        return _html(words, voice, language, causes, lead, status=status).encode(errors="replace")
    if format_ == "text/plain":
        return _text(words, voice, causes, lead).encode(errors="replace")
    return _problem(words, voice, causes, lead, status=status)


def fill(template: str, values: dict[str, str]) -> str:
    """Put the values where the template names them, ``{{name}}``; a value that holds braces stays as it is."""
    head, *rest = template.split("{{")
    return head + "".join(values[name] + text for name, _, text in (part.partition("}}") for part in rest))


def _cause(failure: FailureRecord) -> dict[str, str]:
    """Return the failure as printable texts, so that no value of it can steer a terminal or break the encoding."""
    from arun.core.failures import printable

    told = failure.as_dict() | {"when": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(failure.when))}
    return {name: "\n".join(map(printable, str(text).expandtabs(4).splitlines())) for name, text in told.items()}


def _html(  # noqa: PLR0913 - each is a part of the page
    words: Words,
    voice: Voice,
    language: Language,
    causes: list[dict[str, str]],
    lead: tuple[str, ...],
    *,
    status: int,
) -> str:
    page = words["pages"][voice]
    with open(_PAGE, encoding="utf-8") as file:
        template = file.read()
    return fill(
        template,
        {
            "lang": language,
            "voice": voice,
            "title": _escape(page["title"]),
            "heading": _escape(page["heading"]),
            "lead": _inline(words["space"].join(lead)),
            "main": "\n".join(_sections(words, voice, causes)),
            "motto": "" if voice == "offline" else _escape(words["motto"]),
            "status": str(status),
        },
    )


def _sections(words: Words, voice: Voice, causes: list[dict[str, str]]) -> Iterator[str]:
    if voice == "welcome":
        yield f'<section aria-labelledby="next">\n<h2 id="next">{_escape(words["next_heading"])}</h2>\n<dl class="commands">'
        for command, meaning in words["commands"]:
            yield f"<div><dt><code>{_escape(command)}</code></dt><dd>{_escape(meaning)}</dd></div>"
        yield "</dl>\n</section>"
    elif voice in {"pause", "offline"}:
        # An empty reference is the address that was asked for, whatever it was, without repeating it.
        yield f'<p><a class="go" href="">{_escape(words["retry"])}</a></p>'
        if voice == "offline":
            return
        yield f'<section aria-labelledby="operator">\n<h2 id="operator">{_escape(words["operator_heading"])}</h2>'
        yield f"<p>{_inline(words['space'].join(words['operator']))}</p>\n</section>"
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


def _text(words: Words, voice: Voice, causes: list[dict[str, str]], lead: tuple[str, ...]) -> str:
    lines = [words["pages"][voice]["heading"], "", *lead, ""]
    if voice == "welcome":
        lines += [words["next_heading"], ""]
        for command, meaning in words["commands"]:
            lines += [f"    {command}", f"        {meaning}", ""]
    elif voice == "pause":
        lines += [words["operator_heading"], *words["operator"], ""]
        if causes:
            lines += [words["causes_heading"], "", *_causes_in_text(words, causes), words["causes_note"], ""]
    if voice == "offline":
        return "\n".join(lines)
    return "\n".join([*lines, words["motto"], ""])


def _causes_in_text(words: Words, causes: Iterable[dict[str, str]]) -> Iterator[str]:
    for cause in causes:
        yield f"{cause['identifier']}: {cause['sentence']}"
        yield from (f"    {words['cause_labels'][name]}: {cause[name]}" for name in _TOLD_ON_A_LINE if cause[name])
        yield from (f"    | {line}" for line in cause["detail"].splitlines())
        yield ""


def _problem(words: Words, voice: Voice, causes: list[dict[str, str]], lead: tuple[str, ...], *, status: int) -> bytes:
    """Return a problem document (RFC 9457). Its type is about:blank: the status is all that a program needs."""
    import json

    page = words["pages"][voice]
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": page["title"],
        "status": status,
        "detail": words["space"].join(lead),
    }
    if causes:
        problem["failures"] = causes
    return json.dumps(problem, ensure_ascii=False, indent=2).encode(errors="replace") + b"\n"


def _escape(text: str) -> str:
    # The five characters by a table: the html module brings all entities of HTML with it, for a fifth of a start.
    return text.translate(_ESCAPES)


def _inline(text: str) -> str:
    """Escape a text and make code of what stands between backquotes."""
    return "".join(f"<code>{part}</code>" if n % 2 else part for n, part in enumerate(_escape(text).split("`")))
