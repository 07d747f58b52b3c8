"""What must not be shown: passwords in URLs, values whose names say that they are secret, and command lines with either.

By methods of strings alone: it is called while a failure is reported, when nothing is imported any more.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

__all__ = ("MASK", "command_line", "is_secret", "masked", "secrets_of")

MASK = "***"
#: What is in a name whose value is secret.
_SECRET = ("password", "passwd", "passphrase", "secret", "token", "credential")
#: How such a name may end, too: ``API_KEY``, ``sentry-dsn``, ``DB_PWD``.
_SECRET_ENDS = ("key", "pwd", "dsn")
#: How names end that say where a secret is, or what is known of it to all.
_HARMLESS_ENDS = ("file", "path", "dir", "url", "name", "id", "ttl", "type", "expire", "expires", "age", "timeout")
_PUBLIC = ("public", "foreign", "primary", "keyfile")
#: Characters of a value that is looked for in other texts: a shorter one would be found in words.
_SHORTEST = 6
#: What ends a URL, and a value, in a text.
_ENDS = frozenset(" \t\r\n\"'`<>|\\^{}")
_VALUE_ENDS = frozenset(" \t\r\n\"'`,;&)]}<>")
_QUOTES = frozenset("\"'`")


def is_secret(name: str) -> bool:
    """Return whether what bears this name is not to be shown: an option, a variable, a parameter."""
    words = name.lower().replace("-", "_").strip("_")
    if words.endswith(_HARMLESS_ENDS):
        return False
    if any(word in words for word in _SECRET):
        return True
    return words.endswith(_SECRET_ENDS) and not any(word in words for word in _PUBLIC)


def masked(text: str, secrets: Iterable[str] = ()) -> str:
    """Return the text without passwords in URLs, without values behind secret names, and without the ``secrets``."""
    for secret in secrets:
        if secret in text:
            text = text.replace(secret, MASK)
    if "://" in text:
        text = _without_passwords(text)
    if "=" in text or ":" in text:
        text = _without_values(text)
    return text


def command_line(words: Sequence[str], secret_flags: Collection[str] = ()) -> str:
    """Return a command line as one would type it, without what is secret in it.

    ``secret_flags`` are options, as they are written, whose values are never shown; of ``NAME=value`` the name is.
    """
    shown, hides = list[str](), False
    for word in words:
        flag, equals, value = word.partition("=")
        if hides:
            shown.append(_hidden(word))
            hides = False
        elif flag in secret_flags or (flag.startswith("--") and is_secret(flag)):
            hides = not equals
            shown.append(f"{flag}={_hidden(value)}" if equals else flag)
        elif word[:2] in secret_flags and not word.startswith("--"):
            shown.append(word[:2] + _hidden(word[2:]))
        else:
            shown.append(masked(word))
    return " ".join(map(_quoted, shown))


def secrets_of(
    environ: Mapping[str, str], words: Sequence[str] = (), secret_flags: Collection[str] = ()
) -> tuple[str, ...]:
    """Return the secret values in an environment and on a command line, to be looked for in other texts; longest first."""
    named = list(environ.items())
    flag = ""
    for word in words:
        name, equals, value = word.partition("=")
        if flag:
            named.append(("secret", word.partition("=")[2] if _is_variable(word) else word))
            flag = ""
        elif name in secret_flags or (name.startswith("--") and is_secret(name)):
            flag = "" if equals else name
            named.append(("secret", value.partition("=")[2] if _is_variable(value) else value))
        elif word[:2] in secret_flags and not word.startswith("--"):
            named.append(("secret", word[2:].partition("=")[2]))
        else:
            named.append((name.lstrip("-"), value))
    found = {value for name, value in named if is_secret(name)}
    found.update(password for _, value in named for password in _passwords(value))
    return tuple(sorted((one for one in found if len(one) >= _SHORTEST and not one.startswith("/")), key=len)[::-1])


def _is_variable(word: str) -> bool:
    name, equals, _ = word.partition("=")
    return bool(equals) and name.replace("_", "a").isalnum()


def _hidden(word: str) -> str:
    return f"{word.partition('=')[0]}={MASK}" if _is_variable(word) else MASK


def _quoted(word: str) -> str:
    """Return a word as a shell reads it."""
    plain = word.replace(MASK, "")
    if word and all(c.isalnum() or c in "@%+=:,./-_" for c in plain):
        return word
    return "'" + word.replace("'", "'\"'\"'") + "'"


def _password_at(text: str, start: int) -> tuple[int, int] | None:
    """Return where the password stands in the URL whose ``://`` ends at ``start``; None where it has none."""
    end = start
    while end < len(text) and text[end] not in _ENDS:
        end += 1
    rest = text[start:end]
    authority = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    at = rest.rfind("@", 0, authority)
    colon = rest.find(":", 0, authority)
    if at < 0 and colon >= 0 and rest[:1] != "[" and not rest[colon + 1 : authority].isdigit():
        at = rest.rfind("@")  # a password with a slash in it, which RFC 3986 wants escaped
    if colon < 0 or at < colon:
        return None
    return start + colon + 1, start + at


def _passwords(text: str) -> list[str]:
    found, place = [], text.find("://")
    while place >= 0:
        span = _password_at(text, place + 3)
        if span is not None:
            found.append(text[span[0] : span[1]])
        place = text.find("://", place + 3)
    return found


def _without_passwords(text: str) -> str:
    parts, done, place = [], 0, text.find("://")
    while place >= 0:
        span = _password_at(text, place + 3)
        if span is not None:
            parts += [text[done : span[0]], MASK]
            done = span[1]
        place = text.find("://", max(place + 3, done))
    return "".join([*parts, text[done:]])


def _without_values(text: str) -> str:
    """Mask what stands behind ``name=``, ``'name': `` and ``"name": `` where the name is that of a secret."""
    parts, done, place = [], 0, -1
    while (place := _next_mark(text, place + 1)) >= 0:
        if place < done:
            continue
        span = _value_at(text, place)
        if span is not None:
            parts += [text[done : span[0]], MASK]
            done = span[1]
    return "".join([*parts, text[done:]])


def _next_mark(text: str, start: int) -> int:
    places = [place for mark in "=:" if (place := text.find(mark, start)) >= 0]
    return min(places, default=-1)


def _value_at(text: str, mark: int) -> tuple[int, int] | None:
    """Return where the secret value stands behind the ``=`` or ``:`` at ``mark``; None where there is none."""
    end = mark
    while end and text[end - 1] == " ":
        end -= 1
    is_quoted = bool(end) and text[end - 1] in _QUOTES
    end -= is_quoted
    start = end
    while start and (text[start - 1].isalnum() or text[start - 1] in "_-"):
        start -= 1
    name = text[start:end]
    if not name or name.lower() == "key" or not is_secret(name) or (text[mark] == ":" and not is_quoted):
        return None
    begin = mark + 1
    while begin < len(text) and text[begin] == " ":
        begin += 1
    if begin >= len(text) or text[begin] == "=":
        return None
    if text[begin] in _QUOTES:
        close = text.find(text[begin], begin + 1)
        return begin + 1, len(text) if close < 0 else close
    if begin > mark + 1 and text[mark] == "=":
        return None  # code: what it calls is no secret
    close = begin
    while close < len(text) and text[close] not in _VALUE_ENDS:
        close += 1
    return (begin, close) if close > begin else None
