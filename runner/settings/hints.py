"""What to say about a key that arun does not have: the option that was meant, or what it means elsewhere."""

from __future__ import annotations

from .chosen import Settings
from .declaration import named

__all__ = ("hint_for", "nearest")

_DAEMON = "to go to the background use {daemonize} FILE, where the lines go"
_GRACE = "the time that a worker has to finish is {timeout-graceful-shutdown}"
_PLAIN_HTTP = "arun speaks HTTP, not uWSGI's binary protocol; use {bind}"
_NO_RELOAD = "arun watches the files that {touch-reload} names, and reloads on SIGHUP"
#: Names of other runners that arun does not take, or that would mean something else here.
_ELSEWHERE = {
    "http": "uWSGI means its router, uvicorn its parser; to listen use {bind} or {http-socket}",
    "socket": _PLAIN_HTTP,
    "uwsgi-socket": _PLAIN_HTTP,
    "s": _PLAIN_HTTP,
    "https": "uWSGI means its router; to listen with TLS use {https-socket}",
    "do-handshake-on-connect": "arun does every handshake beside the others, within {timeout-header}; leave it out",
    "suppress-ragged-eofs": "an end without close_notify is an end; leave it out",
    "daemon": _DAEMON,
    "D": _DAEMON,
    "d": _DAEMON,
    "daemonize2": _DAEMON,
    "logto2": "arun opens its log file before it changes the user; use {log-file}",
    "reload": "uWSGI means a pid file to signal, uvicorn to watch files; arun has {touch-reload} FILE, and reloads on SIGHUP",
    "py-autoreload": _NO_RELOAD,
    "home": "uWSGI means a virtual environment; start the arun that is installed there",
    "virtualenv": "uWSGI means a virtual environment; start the arun that is installed there",
    "H": "uWSGI means a virtual environment; start the arun that is installed there",
    "worker-class": "gunicorn means the kind of worker; arun finds the kind of app by itself, or use {interface}",
    "k": "gunicorn means the kind of worker; arun finds the kind of app by itself, or use {interface}",
    "plugin": "uWSGI means a part of itself; arun has no plugins, leave it out",
    "plugins": "uWSGI means parts of itself; arun has no plugins, leave it out",
    "enable-threads": "threads are always enabled; leave it out",
    "lazy-apps": "every process loads the app by itself; leave it out",
    "die-on-term": "SIGTERM always ends arun; leave it out",
    "reload-mercy": _GRACE,
    "worker-reload-mercy": _GRACE,
    "workers-kill-timeout": _GRACE,
    "worker-tmp-dir": "workers beat on a socket, not in files; leave it out",
    "l": "uWSGI means the length of the queue; use {backlog}",
    "no-fallback": "use {fallback-config} none",
    "c": "gunicorn means a config in Python; use {config}, or name an ini, toml, yaml or json file as a bare argument",
    "name": "gunicorn means the title of the process; leave it out",
    "log-config": "the app sets up its own logging; arun has {log-level}",
    "use-colors": "arun writes no colours; leave it out",
    "lifespan": "arun finds out whether the app knows lifespan; leave it out",
    "ws": "arun has websockets of its own; leave it out",
    "m": "name a module as a bare argument or with {module}",
    "P": "use {port}",
}


def nearest(key: str) -> str:
    """Return the name that was probably meant, empty if there is none."""
    from difflib import get_close_matches

    found = get_close_matches(key.lower(), list(named(Settings)), 1, 0.72)
    return found[0] if found else ""


def hint_for(key: str, *, flag: bool) -> str:
    """Return what to do about an unknown key, with option names as flags or as file keys; empty for no idea."""
    dashes = "--" if flag else ""
    if key in _ELSEWHERE:
        return _ELSEWHERE[key].replace("{", dashes).replace("}", "")
    near = nearest(key.removeprefix("no-"))
    return f"did you mean {dashes}{near}?" if near else ""
