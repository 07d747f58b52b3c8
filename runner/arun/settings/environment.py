"""The environment: ``ARUN_*`` as settings, and the names that platforms share among programs as defaults."""

from __future__ import annotations

from .command_line import EXTRA_ARGUMENTS
from .declaration import named
from .entries import Entry
from .settings import Settings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ("read_environment", "read_shared")

_PREFIX = "ARUN_"
#: What other runners read in its place.
_OTHERS = ("GUNICORN_CMD_ARGS", "UVICORN_", "GRANIAN_", "UWSGI_")
#: Variables of ours that are no settings.
_OURS = frozenset({EXTRA_ARGUMENTS, "ARUN_HANDOVER", "ARUN_PROBE", "ARUN_WORKER", "ARUN_GENERATION"})


def read_environment(environ: Mapping[str, str]) -> tuple[list[Entry], list[str]]:
    """Read ``ARUN_*``; return entries and warnings.

    An empty variable counts as none, as compose files write it. An unknown one is a warning and no error: programs share the
    environment.
    """
    entries, warnings, others = list[Entry](), list[str](), list[str]()
    for name, value in environ.items():
        if name.startswith(_OTHERS) and value and not _is_service_link(name, value):
            others.append(name)
        if not name.startswith(_PREFIX) or name in _OURS or not value or _is_service_link(name, value):
            continue
        key = name.removeprefix(_PREFIX).lower().replace("_", "-")
        option = named(Settings).get(key)
        if option is None:
            from .hints import nearest

            near = nearest(key)
            meant = f"; did you mean {_PREFIX}{near.upper().replace('-', '_')}?" if near else ""
            warnings.append(f"the environment variable {name} is no setting of arun{meant}")
        elif not option.command_line_only:  # ARUN_VERSION and the like are what images call themselves
            entries.append(Entry(key, value, name))
    if others:
        warnings.append(f"arun does not read {', '.join(others)}: it has {_PREFIX}<OPTION> and {EXTRA_ARGUMENTS}")
    return entries, warnings


def read_shared(environ: Mapping[str, str], *, factory_reset: bool) -> list[Entry]:
    """Read what other runners read too: PORT, WEB_CONCURRENCY and FORWARDED_ALLOW_IPS, as gunicorn does.

    They are defaults that a platform sets for any program: every setting of arun goes before them, in files as well.
    """
    entries = []
    port = environ.get("PORT", "")
    if port:
        entries.append(Entry("bind", port if "://" in port else f"0.0.0.0:{port}", "PORT"))
    if not factory_reset:
        for key, name in (("workers", "WEB_CONCURRENCY"), ("forwarded-allow-ips", "FORWARDED_ALLOW_IPS")):
            if environ.get(name):
                entries.append(Entry(key, environ[name], name))
    return entries


def _is_service_link(name: str, value: str) -> bool:
    """Return whether Kubernetes has set the variable for a service called arun or arun-something.

    Source: kubernetes.io, "Service", "Environment variables": {NAME}_SERVICE_HOST, {NAME}_SERVICE_PORT[_PORTNAME], and
    the Docker links {NAME}_PORT=tcp://..., {NAME}_PORT_80_TCP[_PROTO|_PORT|_ADDR].
    """
    if value.startswith(("tcp://", "udp://", "sctp://")) or "_SERVICE_HOST" in name or "_SERVICE_PORT" in name:
        return True
    words = name.split("_")
    return any(
        words[place] == "PORT" and words[place + 1].isdigit() and words[place + 2] in {"TCP", "UDP", "SCTP"}
        for place in range(len(words) - 2)
    )
