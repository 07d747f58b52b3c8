"""Import an app, make it if it is a factory, tell its kind; or say precisely why not.

Whatever a target's own code does while it is imported becomes one of the failures of the stage "load". Stop signals
and the deadline of the start pass through.
"""

from __future__ import annotations

import contextlib
import os
import sys

from arun.apps import importing, shadows
from arun.core import exits, genuine
from arun.core.failures import (
    APP_AMBIGUOUS,
    APP_ATTRIBUTE_MISSING,
    APP_DEPENDENCY_MISSING,
    APP_EXITED,
    APP_IMPORT_FAILED,
    APP_KIND_UNKNOWN,
    APP_NAME_COLLISION,
    APP_NOT_FOUND,
    APP_SYNTAX_ERROR,
    StartupFailure,
)
from arun.core.values import Value
from arun.system import process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator
    from types import ModuleType
    from typing import Any

    from arun.apps.target import Target

    RunCoroutine = Callable[[Coroutine[Any, Any, Any]], Any]

__all__ = ("App", "load")

#: Under which names an app is looked for in a module; the first that is there is taken.
INSTANCES = ("app", "application")
FACTORIES = ("create_app", "make_app", "build_app", "get_app", "init_app")

#: The ends of files that are Python's for certain; a module has none.
_SOURCES = frozenset({"", ".py", ".pyw", ".wsgi"})
_OTHER_FILE = (
    "it is read as Python; a config is .ini, .toml, .json or .yaml, or named with --config, which reads others as ini"
)
#: What ``compile`` says of such a source before Python 3.11.4, in a ValueError; later it is a SyntaxError.
_NULL_BYTES = "source code string cannot contain null bytes"


class App(Value):
    """A loaded app: the object, its kind ("aiohttp", "asgi", "wsgi"), and the target it came from."""

    object: Any
    kind: str
    target: Target


def load(target: Target, interface: str, run: RunCoroutine) -> App:
    """Import the target's module, pick the app out of it, make it if it is a factory, and tell its kind.

    ``interface`` is "auto" or the kind that the user says it is; ``run`` completes the coroutine of an async factory.

    Raises:
        StartupFailure: one of the failures of the stage "load".
    """
    shadows.protect(target.first)
    importing.extend_path(target)
    module = _import(target)
    from arun.apps import kinds

    with _explained(target, "looking at"):  # an attribute may be code of the app's as well
        attribute, candidate = _pick(module, target)
        kind = kinds.kind_of(candidate)
    target = target._replace(attribute=attribute)
    if target.factory or kind == kinds.FACTORY:
        candidate = _make(candidate, target, run)
        kind = kinds.kind_of(candidate)
    if interface != "auto":
        return App(candidate, _agreed(candidate, kind, interface, target), target)
    if kind in {kinds.AIOHTTP, kinds.ASGI, kinds.WSGI}:
        return App(candidate, kind, target)
    what = f"{_described(target)} is {_article(type(candidate).__name__)}"
    if kind == kinds.AMBIGUOUS:
        raise StartupFailure(APP_AMBIGUOUS, f"{what} that could be called as ASGI or as WSGI", origin=target.origin)
    if attribute in FACTORIES and callable(candidate):
        what += " that needs arguments; a factory is called without any"
    raise StartupFailure(APP_KIND_UNKNOWN, what, origin=target.origin)


def _agreed(candidate: Any, kind: str | None, interface: str, target: Target) -> str:
    """The interface that the user names settles a doubt, but an object that plainly cannot be it is refused."""
    if kind == interface or (interface != "aiohttp" and kind != "aiohttp" and callable(candidate)):
        return interface
    raise StartupFailure(
        APP_KIND_UNKNOWN,
        f"{_described(target)} is {_article(type(candidate).__name__)}, which is no app of kind {interface}",
        origin=target.origin,
    )


def _import(target: Target) -> ModuleType:
    with _explained(target, "importing"):
        top = target.name.partition(".")[0]
        if not target.file and top in shadows.OWN and top in shadows.own_names_of(target.first):
            raise StartupFailure(
                APP_NAME_COLLISION,
                f"{target.text}: the module name {top!r} is taken by arun",
                origin=target.origin,
                hint=f"name the file, {top}.py, or rename it",
            )
        return importing.import_app(target)


def _pick(module: ModuleType, target: Target) -> tuple[str, Any]:
    """Return the object that is the app or makes it, and its name."""
    if target.attribute:
        candidate: Any = module
        for part in target.attribute.split("."):
            try:
                candidate = getattr(candidate, part)
            except AttributeError:
                raise _attribute_missing(module, target) from None
        return target.attribute, candidate
    found = {name: vars(module)[name] for name in INSTANCES if vars(module).get(name) is not None}
    if len({id(candidate) for candidate in found.values()}) > 1:
        names = " and ".join(found)
        raise StartupFailure(
            APP_AMBIGUOUS,
            f"{target.text} has {names}, and they are not the same",
            origin=target.origin,
            hint=f"name one: {target.text}:app",
        )
    for name in (*INSTANCES, *FACTORIES):
        if vars(module).get(name) is not None:
            return name, vars(module)[name]
    raise _attribute_missing(module, target)


def _attribute_missing(module: ModuleType, target: Target) -> StartupFailure:
    import difflib

    from arun.apps import kinds

    public = [name for name in vars(module) if not name.startswith("_")]
    if not target.attribute:
        names = ", ".join((*INSTANCES, *FACTORIES))
        others = [name for name in public if kinds.is_certain(vars(module)[name])]
        hint = f"it has an app of another name: {target.text}:{others[0]}" if others else ""
        return StartupFailure(
            APP_ATTRIBUTE_MISSING, f"{target.text} has none of {names}", origin=target.origin, hint=hint
        )
    close = difflib.get_close_matches(target.attribute, public, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(public[:8]) or 'no public names'}"
    name = target.text.partition(":")[0]
    return StartupFailure(
        APP_ATTRIBUTE_MISSING, f"{name} has no attribute {target.attribute!r}", origin=target.origin, hint=hint
    )


def _make(factory: Any, target: Target, run: RunCoroutine) -> Any:
    if not callable(factory):
        raise StartupFailure(
            APP_KIND_UNKNOWN, f"{_described(target)} is no factory: it cannot be called", origin=target.origin
        )
    import inspect

    with _explained(target, "making"):
        made = factory()
        return run(made) if inspect.iscoroutine(made) else made


@contextlib.contextmanager
def _explained(target: Target, doing: str) -> Iterator[None]:
    """Turn whatever the app's code raises into a failure that names the cause; interruptions of ours pass."""
    path = sys.path[:]
    try:
        yield
    except StartupFailure:
        raise
    except BaseException as error:
        if exits.in_forked_child() or isinstance(error, exits.Interruption):
            raise
        genuine.restore()  # telling what happened needs modules of ours, and the app may have left none of what imports
        sys.path = path
        process.silence()
        exits.release_descriptors()  # nor a descriptor to import them with
        raise _failure(error, target, doing) from error


def _failure(error: BaseException, target: Target, doing: str) -> StartupFailure:
    from arun.system.tracebacks import app_traceback, described

    if isinstance(error, ValueError) and str(error) == _NULL_BYTES:
        error = SyntaxError(str(error)).with_traceback(error.__traceback__)
    origin, detail = target.origin, app_traceback(error)
    if isinstance(error, SystemExit):
        return StartupFailure(
            APP_EXITED,
            f"{target.text} called sys.exit({_shown(error.code)}) while {doing} it",
            origin=origin,
            detail=detail,
        )
    if isinstance(error, KeyboardInterrupt):
        return StartupFailure(
            APP_EXITED, f"{target.text} raised KeyboardInterrupt while {doing} it", origin=origin, detail=detail
        )
    if isinstance(error, SyntaxError):
        where = f"{error.filename}:{error.lineno}" if error.filename else f"{doing} {target.text}"
        hint = "" if os.path.splitext(target.file)[1].lower() in _SOURCES else _OTHER_FILE
        return StartupFailure(APP_SYNTAX_ERROR, f"{where}: {error.msg}", origin=origin, hint=hint, detail=detail)
    if isinstance(error, ModuleNotFoundError) and error.name:
        if not target.file and f"{target.name}.".startswith(f"{error.name}."):
            return StartupFailure(
                APP_NOT_FOUND,
                f"there is no module {error.name!r}",
                origin=origin,
                hint=_not_found_hint(error.name, target),
            )
        if error.name.partition(".")[0] in sys.stdlib_module_names:
            return StartupFailure(
                APP_DEPENDENCY_MISSING,
                f"{target.text} needs the module {error.name!r} of Python's own library, which cannot be found or read",
                origin=origin,
                hint=f"the user that serves must be able to read {os.path.dirname(os.__file__)}",
                detail=detail,
            )
        from arun.apps import missing

        lies = missing.hint(error.name, (*target.first, *target.last))
        return StartupFailure(
            APP_DEPENDENCY_MISSING,
            f"{target.text} needs the module {error.name!r}, which is not {'found' if lies else 'installed'}",
            origin=origin,
            hint=lies or f"pip install the package that provides {error.name!r} into {sys.prefix}",
            detail=detail,
        )
    hint = _shadow_hint(error, target)
    return StartupFailure(
        APP_IMPORT_FAILED, f"{target.text} raised {described(error)}", origin=origin, hint=hint, detail=detail
    )


def _not_found_hint(name: str, target: Target) -> str:
    from difflib import get_close_matches

    from arun import COMMANDS
    from arun.apps import missing

    where = " and ".join(target.first)
    looked = f"arun looked in {where} and on sys.path; an attribute is named after a colon, module:attribute"
    meant = get_close_matches(target.text, COMMANDS, 1, 0.75) if target.origin == "command line" else []
    return missing.hint(name, target.first) or (
        f"did you mean the command arun {meant[0]}? {looked}" if meant else looked
    )


def _shadow_hint(error: BaseException, target: Target) -> str:
    """An import error or a missing attribute may come of a file that is named like a module of Python's."""
    if isinstance(error, ImportError | AttributeError):
        hidden = sorted(name for name in shadows.own_names_of(target.first) if f"'{name}'" in str(error))
        if hidden:
            return f"the folder's own {hidden[0]}.py has the name of another module; rename it"
    return ""


def _described(target: Target) -> str:
    return f"{target.text}:{target.attribute}" if target.attribute and ":" not in target.text else target.text


def _article(noun: str) -> str:
    return f"an {noun}" if noun[0] in "aeiouAEIOU" else f"a {noun}"


def _shown(code: Any) -> str:
    try:
        return "" if code is None else repr(code)[:200]
    except Exception:  # noqa: BLE001 - code of the app's
        return f"<{type(code).__name__}>"
