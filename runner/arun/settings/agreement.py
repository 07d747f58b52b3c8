"""Options beside each other: those that contradict, and those that do nothing. Imported where one of them is said."""

from __future__ import annotations

from arun.core.failures import OPTION_INVALID, StartupFailure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .settings import Settings

__all__ = ("contradictions", "idle")


def contradictions(chosen: Settings, wrong: set[str]) -> list[StartupFailure]:
    """Return what options say against each other; one whose value is ``wrong`` by itself contradicts nothing."""
    keys, certificates = len(chosen.ssl_keyfile), len(chosen.ssl_certfile)
    needs = chosen.ssl_cert_reqs if chosen.ssl_cert_reqs != "none" else ""
    found: list[tuple[bool, str, tuple[str, ...], str]] = [
        (
            chosen.workers > 1 and chosen.supervise is False,
            f"{chosen.workers} workers need a supervisor",
            ("supervise", "workers"),
            "say yes to supervise",
        ),
        (
            chosen.app is not None and chosen.wsgi_file is not None,
            f"two apps are named, {chosen.app!r} and {chosen.wsgi_file!r}",
            ("wsgi-file", "app"),
            "name one; the attribute of a file is --callable, or stands behind a colon",
        ),
        (
            keys not in {0, certificates},
            f"ssl-keyfile: each key belongs to a certificate, and here are {keys} for {certificates}",
            ("ssl-keyfile", "ssl-certfile"),
            "say --ssl-certfile and --ssl-keyfile equally often, in the same order",
        ),
        (
            bool(needs) and not (chosen.ssl_certfile or chosen.https_socket),
            f"ssl-cert-reqs: {needs} needs TLS, and no certificate is named",
            ("ssl-cert-reqs", "ssl-certfile", "https-socket"),
            "name one with --ssl-certfile or --https-socket",
        ),
        (
            bool(needs) and not (chosen.ssl_ca_certs or any(one.client_ca for one in chosen.https_socket)),
            f"ssl-cert-reqs: {needs} needs the authorities that certificates of clients come from",
            ("ssl-cert-reqs", "ssl-ca-certs", "https-socket"),
            "name their certificates with --ssl-ca-certs",
        ),
    ]
    return [
        StartupFailure(OPTION_INVALID, sentence, origin=chosen.origin(names[0]), hint=hint)
        for holds, sentence, names, hint in found
        if holds and not wrong & set(names)
    ]


def idle(chosen: Settings) -> list[str]:
    """Return a sentence for each option that was said and does nothing beside what else was said."""
    logs = chosen.logs_requests or chosen.access_log is False or chosen.disable_logging
    speaks_tls = chosen.ssl_certfile or chosen.https_socket
    rules = (
        (chosen.supervise is not False, "a supervisor", tuple(chosen.needing_supervisor)),
        (logs, "--access-log or --access-logfile", ("access-logformat", "access-log-quiet")),
        (speaks_tls, "a certificate", ("ssl-keyfile-password", "ssl-version", "ssl-ca-certs", "ssl-ciphers")),
        (chosen.proxy_protocol, "--proxy-protocol", ("proxy-allow-from",)),
        (chosen.max_requests, "--max-requests", ("max-requests-jitter",)),
    )
    return [
        f"{name} (from {chosen.origin(name)}) does nothing without {what}"
        for is_there, what, names in rules
        for name in names
        if not is_there and chosen.said(name)
    ]
