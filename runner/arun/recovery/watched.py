"""What a failed start read, or looked for: the files whose change may mend it. Gathered in the process that failed.

A path that ends with a slash stands for which folder is there, by its links, and not for what lies in it.
"""

from __future__ import annotations

import os
import sys

from arun.core.failures import StartupFailure
from arun.settings import entries
from arun.system.tracebacks import is_ours

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from arun.settings import Layers, Settings

    #: Device, inode, size in bytes and time of the last change of content or rights (ctime) in nanoseconds; None: not there.
    Signature = tuple[int, int, int, int] | None

__all__ = ("chains", "changed_since", "gather", "read_so_far", "signature", "signatures")

#: Paths that are watched: a look at so many takes some 5 ms.
_MOST = 2000
#: Entries of a folder of an app that is not imported yet.
_MOST_OF_FOLDER = 200
_LIBRARY = tuple(
    os.path.join(prefix, "")
    for prefix in {
        os.path.dirname(os.__file__),
        os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))),
    }
)
_PACKAGES = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
#: Exceptions of one chain or group that are looked at.
_MOST_EXCEPTIONS = 256


def signature(path: str) -> Signature:
    """Return what changes when a path is written, made, removed, replaced or gets other rights, links followed."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return None
    if path.endswith("/"):
        return status.st_dev, status.st_ino, 0, 0
    return status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns


def signatures(paths: Iterable[str]) -> dict[str, Signature]:
    """Return the signature of each path."""
    return {path: signature(path) for path in paths}


def changed_since(signed: Signature, moment: int) -> bool:
    """Return whether a path with this signature has changed at that moment or later, in nanoseconds of the epoch."""
    return signed is not None and signed[3] >= moment


def read_so_far(layers: Layers, settings: Settings | None, called: str) -> list[str]:
    """Return what a start reads before the app: configs, env file, certificates, and where the app is looked for.

    ``called`` is the starting directory as it was called.
    """
    directory, here = layers.directory, _working_directory()
    found = [os.path.join(called, "")]
    found += [config.path for config in layers.configs]
    found += [
        os.path.join(directory, entries.split_reference(entry.value)[0])
        for layer in layers.entries
        for entry in layer
        if entry.key in {"config", "include", "ini", "toml", "yaml", "json"} and isinstance(entry.value, str)
    ]
    if settings is None:
        return found
    named = [settings.env_file, settings.chdir, *settings.pythonpath, settings.ssl_ca_certs]
    named += [*settings.ssl_certfile, *settings.ssl_keyfile]
    for one, _ in settings.secure_addresses:
        named += [one.certfile, one.keyfile, one.client_ca.removeprefix("!") if one.client_ca else None]
    for path in filter(None, named):
        found += dict.fromkeys((os.path.join(directory, path), os.path.join(here, path)))
    return found + list(_app_places(settings, here))


def _app_places(settings: Settings, here: str) -> Iterator[str]:
    """Yield where the app is looked for: its file, or the modules of its name, and the Python files beside it."""
    text = settings.app if settings.app is not None else settings.wsgi_file
    folder = os.path.join(here, settings.app_dir or "").rstrip("/") or "/"
    name = (text or "").rpartition(":")[0] or text or ""
    for place in dict.fromkeys((here, folder)):
        if name:
            yield os.path.join(place, name)
        if name and "/" not in name and not name.endswith(".py"):
            inner = place
            for part in name.split("."):
                yield from (os.path.join(inner, f"{part}.py"), os.path.join(inner, part, "__init__.py"))
                inner = os.path.join(inner, part)
        try:
            beside = [one for one in sorted(os.listdir(place)) if one.endswith(".py")]
        except OSError:
            continue
        yield from (os.path.join(place, one) for one in beside[:_MOST_OF_FOLDER])


def gather(before: Sequence[str], settings: Settings | None, failures: Sequence[BaseException]) -> list[str]:
    """Return what a failed start read: what it read ``before`` the app, files of its tracebacks, modules of the app.

    Of a module that is missing, the folders where it is looked for; of any other missing file, its path. Of listeners
    that failed, which folders its unix sockets are made in.
    """
    found: dict[str, None] = dict.fromkeys(before)
    if settings and any(isinstance(one, StartupFailure) and one.cause.stage == "listen" for one in failures):
        found.update((folder, None) for folder in _socket_folders(settings))
    found.update((os.path.abspath(path), None) for error in chains(failures) for path in _of_error(error))
    for module in tuple(sys.modules.values()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and _is_apps(file):
            found[os.path.abspath(file)] = None
        if len(found) >= _MOST:
            break
    return list(found)[:_MOST]


def _socket_folders(settings: Settings) -> Iterator[str]:
    for address, _ in (*settings.addresses, *settings.shared_addresses):
        path = getattr(address, "path", "")
        if path.startswith("/"):
            yield os.path.join(os.path.dirname(path), "")


def _is_apps(path: str) -> bool:
    """Return whether a file is the app's, and neither of Python's library, of an installed package nor of arun."""
    return not path.startswith(_LIBRARY) and not any(part in path for part in _PACKAGES)


def _of_error(error: BaseException) -> Iterator[str]:
    trace = error.__traceback__
    while trace is not None:
        path = trace.tb_frame.f_code.co_filename
        if path and path[0] != "<" and not path.startswith(_LIBRARY) and not is_ours(path):
            yield path
        trace = trace.tb_next
    if isinstance(error, SyntaxError | OSError) and isinstance(error.filename, str) and error.filename[:1] != "<":
        yield error.filename
    if isinstance(error, ImportError):
        if isinstance(error.path, str):
            yield error.path
        yield from filter(None, sys.path)
        package = sys.modules.get((error.name or "").rpartition(".")[0])
        yield from (path for path in getattr(package, "__path__", ()) if isinstance(path, str))


def chains(failures: Sequence[BaseException]) -> Iterator[BaseException]:
    """Yield the exceptions, and those that they come from."""
    waiting, seen = list(failures), set[int]()
    while waiting and len(seen) < _MOST_EXCEPTIONS:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        waiting += [other for other in (one.__cause__, one.__context__) if other is not None]
        if isinstance(one, BaseExceptionGroup):
            waiting += one.exceptions


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError:
        return "/"
