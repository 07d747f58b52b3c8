"""The options of workers and their supervisor; declared like those in options.py, of which they are one section."""

from __future__ import annotations

from .declaration import option, repeated
from .kinds import Flag, Number, Seconds, Text
from .worker_kinds import Memory, WorkerCount

__all__ = ("Workers",)


class Workers:
    """Workers and reload."""

    __slots__ = ()

    workers = option(
        WorkerCount(),
        default=1,
        aliases=("processes",),
        short="w",
        about="number of processes, or auto for one per core (also WEB_CONCURRENCY)",
        short_hint="uWSGI's -w names a module, use --module; here -w is the number of workers",
    )
    supervise = option(
        Flag(),
        default=None,
        aliases=("master",),
        short="M",
        about="a process of its own watches over the workers; on with more than one, as process 1, and where an option needs it",
    )
    preload = option(
        Flag(),
        default=False,
        aliases=("preload-app",),
        about="load the app once and fork the workers from there: saves the memory of a large app; Linux",
    )
    threads = option(
        Number(0, 4096), default=8, about="number of threads that run a WSGI app; 0 runs it in the event loop itself"
    )
    touch_reload = repeated(
        Text("PATH"),
        aliases=("touch-workers-reload",),
        about="reload when this is touched: a file, the Python files of a folder, or a pattern such as "
        "'conf/*.toml'; repeatable",
    )
    worker_timeout = option(
        Seconds(zero=True),
        default=30.0,
        aliases=("timeout-worker-healthcheck",),
        about="a worker whose loop does not turn for so long is replaced, with a traceback of its threads; 0 for never",
    )
    timeout = option(
        Seconds(zero=True),
        default=None,
        short="t",
        about="as gunicorn's: sets --worker-timeout, and for a WSGI app --timeout-request as well, unless --threads is more "
        "than one, or -k names a kind of worker that is not sync",
    )
    max_requests = option(
        Number(0, 1_000_000_000),
        default=0,
        aliases=("limit-max-requests",),
        about="a worker that has served so many is replaced; 0 for never",
    )
    max_requests_jitter = option(
        Number(0, 1_000_000_000),
        default=0,
        aliases=("limit-max-requests-jitter", "max-requests-delta"),
        about="at random up to so many more, so that not all are replaced together",
    )
    max_worker_lifetime = option(Seconds(zero=True), default=0.0, about="a worker of this age is replaced; 0 for never")
    reload_on_rss = option(
        Memory(),
        default=0,
        aliases=("workers-max-rss",),
        about="a worker that holds so many megabytes of memory is replaced; 0 for never",
    )
    crash_limit = option(
        Number(0, 100_000), default=10, about="so many deaths of workers within --crash-interval end in the fallback"
    )
    crash_interval = option(Seconds(zero=False), default=60.0, about="the time in which deaths are counted")
    cpu_affinity = option(
        Number(0, 1024), default=0, about="bind each worker to so many cores of its own, in turn; 0 for none"
    )
