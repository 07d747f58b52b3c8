"""THE declaration of the options: flags, environment names, file keys, help, reference and schema follow from here.

Units stand in the words of each option. Names: uvicorn's and gunicorn's where they are the habit, uWSGI's as aliases;
short flags mean what they mean to gunicorn, never what they mean to uWSGI.
"""

from __future__ import annotations

from arun.core.addresses import Tcp
from arun.core.failures import STAGES

from .declaration import option, repeated
from .kinds import Choice, Flag, Number, Octal, PidPath, Seconds, Size, Text
from .names import (
    Cause,
    Ciphers,
    ClientCertificates,
    Command,
    Fallback,
    FieldName,
    Host,
    HttpsSocket,
    LineFormat,
    Listener,
    Owner,
    ProxyProtocol,
    RootPath,
    Secret,
    SocketPath,
    TlsVersion,
    Trusted,
    UrlPath,
    Variable,
)
from .recovery_options import Recovery
from .worker_options import Workers

__all__ = ("BIND_RETRY", "DEFAULT", "Options")

#: Where an instance listens whose settings name no address.
DEFAULT = Tcp("127.0.0.1", 8000)
#: The forms of a line of the log.
#: Seconds for which a busy address is tried again by default, where there is no fallback.
BIND_RETRY = 5.0


class _App:
    """What to run."""

    __slots__ = ()

    app = option(
        Text("APP"),
        default=None,
        aliases=("module", "wsgi"),
        about="module:attribute, module, path/to/file[:attribute] or a folder; also the bare argument; what names an existing "
        "file is that file",
    )
    wsgi_file = option(
        Text("FILE"),
        default=None,
        aliases=("file",),
        about="the Python file that holds the app, whatever its ending; never a module",
    )
    callable = option(Text("NAME"), default=None, about="the attribute that is the app, or makes it")
    factory = option(Flag(), default=False, about="call the attribute to get the app")
    app_dir = option(
        Text("FOLDER"),
        default=None,
        about="where modules of the app are looked for first (default: .), and files that are not in the working directory",
    )
    interface = option(
        Choice("auto", "aiohttp", "asgi", "wsgi", also={"asgi3": "asgi"}),
        default="auto",
        about="the kind of app, where it is not recognised",
    )
    need_app = option(
        Flag(),
        default=None,
        about="no app at all is a failed start, not the welcome page; with --no-need-app one that cannot be loaded is none "
        "either: requests get 500",
    )
    root_path = option(
        RootPath(), default="", about="the path under which a proxy shows an ASGI or WSGI app, such as /api"
    )
    pythonpath = repeated(
        Text("FOLDER"), separator=":,", aliases=("python-path", "pp"), about="a folder to import from; repeatable"
    )


class _Listen:
    """Where to listen."""

    __slots__ = ()

    bind = repeated(
        Listener(),
        aliases=("http-socket",),
        short="b",
        separator=",",
        about="host:port, :port (all IPv4), [::1]:port, unix:/path, unix:@name (abstract) or fd://N; repeatable",
    )
    host = option(Host(), default=None, about=f"a name or IP address (default: {DEFAULT.host})")
    port = option(Number(0, 65_535, "PORT"), default=None, about=f"0 lets the system choose (default: {DEFAULT.port})")
    uds = option(
        SocketPath("PATH"), default=None, about="a unix socket; @name is one in the abstract namespace of Linux"
    )
    fd = option(Number(0, 1_000_000), default=None, about="a listening socket that arun was started with")
    shared_socket = repeated(
        Listener(), separator=",", about="as --bind, but bound before --uid and --gid; for low ports; repeatable"
    )
    backlog = option(Number(1, 65_535), default=2048, about="how many connections may wait to be accepted")
    reuse_port = option(Flag(), default=False, about="share the port with other processes (SO_REUSEPORT)")
    bind_retry = option(
        Seconds(zero=True),
        default=None,
        about="time that a busy address is tried again before the start fails (default: 5, 0 with a fallback; a fallback "
        "waits for what it wants without end, and serves where it can)",
    )
    listen = option(
        Choice("early", "ready"),
        default="early",
        about="accept connections at once, or when the app is up",
        hint="--listen says when: early or ready; how many may wait (uWSGI's --listen) is --backlog",
    )
    chmod_socket = option(
        Octal(),
        default=None,
        aliases=("uds-mode", "chmod"),
        bare="666",
        about="the mode of unix sockets, in octal; bare: 666",
    )
    chown_socket = option(Owner(), default=None, aliases=("uds-owner",), about="the owner of unix sockets")
    vacuum = option(
        Flag(), default=False, about="remove unix sockets at a clean stop; a pid file is removed in any case"
    )


class _Transport:
    """TLS and PROXY protocol."""

    __slots__ = ()

    https_socket = repeated(
        HttpsSocket(),
        about="listen with TLS there, and only there; without CERT and KEY with --ssl-certfile; repeatable",
    )
    ssl_certfile = repeated(
        Text("FILE"),
        aliases=("certfile",),
        about="speak TLS with this certificate chain (PEM); repeatable, chosen by the name that a client asks for",
    )
    ssl_keyfile = repeated(
        Text("FILE"),
        aliases=("keyfile",),
        about="its key, in the same order (default: the file of the certificate); repeatable",
    )
    ssl_keyfile_password = option(Secret(), default=None, about="opens encrypted keys; never shown")
    ssl_version = option(TlsVersion(), default="1.2", about="the lowest version of TLS")
    ssl_cert_reqs = option(
        ClientCertificates(), default="none", aliases=("cert-reqs",), about="whether clients show a certificate"
    )
    ssl_ca_certs = option(
        Text("FILE"),
        default=None,
        aliases=("ca-certs",),
        about="the authorities that certificates of clients come from",
    )
    ssl_ciphers = option(
        Ciphers("LIST"),
        default=None,
        aliases=("ciphers",),
        about="the ciphers of TLS 1.2, in OpenSSL's notation; by default ECDHE with AES-GCM or ChaCha20",
        hint="it takes OpenSSL's notation, such as ECDHE+AESGCM:ECDHE+CHACHA20",
    )
    proxy_protocol = option(
        ProxyProtocol(), default=None, about="connections begin with a PROXY header, version 1 or 2; others are closed"
    )
    proxy_allow_from = repeated(
        Trusted(),
        default=("127.0.0.1", "::1"),
        separator=",",
        aliases=("proxy-allow-ips",),
        about="peers that may connect with --proxy-protocol; others are closed",
    )
    forwarded_header = option(
        Choice("x-forwarded", "forwarded"),
        default="x-forwarded",
        about="which the trusted proxy sets: X-Forwarded-For and -Proto, or Forwarded (RFC 7239); the other is not read",
    )


class _Process:
    """The process."""

    __slots__ = ()

    uid = option(Text("USER"), default=None, aliases=("user",), short="u", about="run as this user, name or number")
    gid = option(Text("GROUP"), default=None, aliases=("group",), short="g", about="run as this group, name or number")
    umask = option(Octal(), default=None, about="the mode bits that new files do not get, in octal")
    chdir = option(Text("FOLDER"), default=None, about="the working directory")
    pidfile = option(
        PidPath("FILE"),
        default=None,
        aliases=("pid",),
        short="p",
        about="write the process id there",
        short_hint="uWSGI's -p is the number of processes, use --workers; here -p is the pid file",
    )
    env = repeated(Variable(), short="e", about="an environment variable for the app; repeatable; never shown")
    env_file = option(
        Text("FILE"), default=None, about="a file of NAME=value lines for the app, quoted as for python-dotenv"
    )
    daemonize = option(
        Text("FILE"),
        default=None,
        about="go to the background when the instance serves; lines go to FILE, or to --log-file",
    )
    loop = option(Choice("auto", "uvloop", "asyncio"), default="auto", about="the event loop")


class _Fallback:
    """When a start fails."""

    __slots__ = ()

    fallback_config = option(
        Fallback(), default=None, about="become the instance of this config when a start fails; welcome needs no file"
    )
    fallback_on = repeated(
        Cause(),
        default=("all",),
        separator=",",
        about=f"which failures: all, none, identifiers, or stages ({', '.join(STAGES)}); repeatable",
        hint="a failure is reported as arun: IDENTIFIER: ...; docs/reference.md and --schema list them all",
    )
    fallback_limit = option(
        Number(0, 100_000),
        default=8,
        about="a chain of so many links gets no further one; it is not handed on: each config says it for its own fallback",
    )
    last_resort = option(
        Choice("page", "exit"),
        default="page",
        about="what follows when no fallback of the chain works: the welcome page, or exit with status 1; it holds for the "
        "whole chain, until a config in it says otherwise",
    )
    strict_fallback = option(
        Flag(),
        default=False,
        about="a fallback config that would fail too is a failed start, not a warning; off in a fallback",
    )
    welcome_status = option(
        Number(200, 599, "STATUS"), default=None, about="the status of the welcome page (default: 200, 503 as fallback)"
    )
    welcome_html = option(
        Text("FILE"),
        default=None,
        about="an HTML page of one's own (UTF-8, at most 1 MiB) in place of the welcome page, on the built-in fallback too; it is "
        "read at the start; {{text}} in it becomes when to try again, {{id}} the id of the failed start",
    )
    on_fallback = option(
        Command(),
        default=None,
        about="run this, without a shell, when a fallback serves; the record of the failure is JSON on its standard input",
    )
    on_recover = option(
        Command(), default=None, about="run this when the first start serves again after a fallback; as for on-fallback"
    )
    state_dir = option(
        Text("DIR"),
        default=None,
        about="keep a record of each failed start there, in failures.jsonl, for arun why (default: STATE_DIRECTORY, as systemd "
        "sets it)",
    )
    start_timeout = option(
        Seconds(zero=False), default=None, about="a start that takes longer has failed (default: none)"
    )


class _Serving:
    """While it serves."""

    __slots__ = ()

    timeout_graceful_shutdown = option(
        Seconds(zero=True), default=8.0, aliases=("graceful-timeout",), about="time for open requests at a stop"
    )
    timeout_keep_alive = option(
        Seconds(zero=True), default=5.0, aliases=("keep-alive",), about="time that an idle connection stays open"
    )
    forwarded_allow_ips = repeated(
        Trusted(),
        default=("127.0.0.1", "::1"),
        separator=",",
        about="peers whose forwarding headers are believed (also FORWARDED_ALLOW_IPS)",
    )
    proxy_headers = option(Flag(), default=True, about="believe forwarding headers of these peers at all")
    drain_delay = option(
        Seconds(zero=True), default=0.0, about="time to go on accepting after a stop signal, until proxies have noticed"
    )
    server_header = option(Flag(), default=True, about="name the server in answers")
    date_header = option(Flag(), default=True, about="put the date into answers")
    debug = option(
        Flag(),
        default=False,
        about="show causes to visitors from this machine, on the built-in fallback too; not behind a proxy on it",
    )
    log_level = option(
        Choice("critical", "error", "warning", "info", "debug", "trace", also={"warn": "warning"}),
        default="info",
        about="how much is logged",
    )


class _Limits:
    """What a client may ask; 0 is no limit."""

    __slots__ = ()

    limit_request_line = option(Size(), default=8190, about="bytes of a request line; more is answered with 414")
    limit_request_fields = option(
        Number(0, 32_768), default=100, about="number of header fields; more are answered with 431"
    )
    limit_request_field_size = option(
        Size(), default=8190, aliases=("limit-request-field_size",), about="bytes of one header field"
    )
    limit_request_head = option(
        Size(1024),
        default=65_536,
        aliases=("h11-max-incomplete-event-size",),
        about="bytes of a whole request head, chunk framing or trailers; never without limit",
    )
    limit_request_body = option(
        Size(), default=1_073_741_824, about="bytes of a request body; more is answered with 413"
    )
    timeout_header = option(Seconds(zero=True), default=15.0, about="time for the head of a request to come; then 408")
    timeout_body = option(
        Seconds(zero=True), default=30.0, about="time that a request body may stall while the app waits for it"
    )
    timeout_write = option(Seconds(zero=True), default=30.0, about="time that a client may take nothing of its answer")
    min_body_rate = option(
        Size(), default=240, about="bytes per second of a request body that the app waits for, at least; then 408"
    )
    min_response_rate = option(
        Size(),
        default=240,
        about="bytes per second that a client takes of an answer that waits for it, at least; a slower client is cut off",
    )
    rate_grace = option(
        Seconds(zero=True), default=5.0, about="time that a client may be waited for before these rates count"
    )
    timeout_request = option(
        Seconds(zero=True),
        default=0.0,
        aliases=("harakiri",),
        about="time that the app may take for a request, without that in which it waits for its client; then 503, or the "
        "answer is cut",
    )
    limit_connections = option(
        Number(0, 1_000_000),
        default=None,
        aliases=("worker-connections",),
        about="connections of a process; more are answered with 503 (default: what its descriptors allow)",
    )
    limit_concurrency = option(
        Number(0, 1_000_000), default=0, about="requests that run at the same time; more are answered with 503"
    )
    keep_alive_requests = option(
        Number(0, 1_000_000_000), default=10_000, about="requests on one connection before it is closed"
    )
    limit_queue = option(
        Number(0, 1_000_000), default=1024, about="WSGI requests that wait for a thread; more are answered with 503"
    )
    limit_response_buffer = option(
        Size(),
        default=16_777_216,
        about="bytes of a WSGI answer that wait in a temporary file for a slow client, while the thread goes on to the next "
        "request; an answer beyond that, or 64 times as much in all answers, keeps its thread; 0: every answer does",
    )


class _Control:
    """Control and status."""

    __slots__ = ()

    control = option(
        SocketPath("PATH"),
        default=None,
        about="a unix socket for arun status, reload, stop, offline and online, for this user alone (default: arun.sock in "
        "$RUNTIME_DIRECTORY, or in the state directory); none: none",
    )
    status = option(
        Listener(),
        default=None,
        about="answer /livez, /startupz, /readyz, /status and /metrics there: host:port or unix:/path, apart from the app",
    )
    status_path = option(
        UrlPath(),
        default=None,
        about="answer them on the app's own addresses too, below this path, such as /-/ for /-/readyz",
        hint="it is a path that no page of the app has, such as /-/",
    )


class _Logs:
    """Log files, and what is written of each request."""

    __slots__ = ()

    log_format = option(
        Choice("text", "json", "plain"),
        default=None,
        about="the form of arun's own lines: text (with time, pid and level), json, or plain (default: text; plain where "
        "standard error is the journal of systemd, which stamps them itself)",
        hint="it takes text, json or plain; what is written of each request is a matter of access-logformat",
    )
    log_file = option(
        Text("FILE"),
        default=None,
        aliases=("error-logfile", "logto"),
        about="standard output and standard error go there, app and all; opened again on SIGUSR1; - leaves them",
    )

    access_log = option(Flag(), default=None, about="a line for each request (default: off, on with --access-logfile)")
    access_logfile = option(Text("FILE"), default=None, about="where these lines go; - is standard output, the default")
    access_logformat = option(
        LineFormat(),
        default="combined",
        about="common, combined, json, or a text with atoms as gunicorn and Apache have them; in files with %% for %",
        hint="the names are common, combined and json; atoms are %(h)s or %h, %({name}i)s or %{name}i, and in config "
        "files, where % begins a placeholder, %%(h)s or %%h",
    )
    access_log_quiet = repeated(
        UrlPath(), separator=",", about="a path, or /prefix*, whose requests leave no line if they succeed; repeatable"
    )
    disable_logging = option(
        Flag(), default=False, about="uWSGI's word: no line for each request, whatever else says so"
    )
    request_id = option(
        Flag(), default=None, about="give every request an id: to the app, in its answer and in the logs"
    )
    request_id_header = option(
        FieldName(), default="X-Request-ID", about="the header field that carries the id; naming it asks for ids"
    )


class _Websocket:
    """Websockets of ASGI apps."""

    __slots__ = ()

    ws_max_size = option(
        Size(1),
        default=16_777_216,
        about="bytes of a message, decompressed; a longer one closes the websocket with 1009",
    )
    ws_max_queue = option(
        Number(1, 1_000_000), default=32, about="messages that wait for the app before the client has to"
    )
    ws_ping_interval = option(Seconds(zero=True), default=20.0, about="time between pings; 0 for none")
    ws_ping_timeout = option(
        Seconds(zero=True), default=20.0, about="time for the answer to a ping to come, then 1011; 0 for ever"
    )
    ws_per_message_deflate = option(Flag(), default=True, about="compress messages when the client offers it")


class _Arun:
    """arun itself."""

    __slots__ = ()

    config = repeated(
        Text("FILE"),
        aliases=("ini", "toml", "yaml", "json", "include"),
        about="read settings from FILE or FILE:SECTION; also the bare argument; repeatable",
    )
    ignore = repeated(
        Text("NAME"),
        separator=",",
        about="options of other runners that would change the site, separated by commas, such as static-map,cron: start "
        "without them; gunicorn.conf.py: say nothing of the one in this folder; repeatable",
    )
    print = repeated(Text(may_be_empty=True), about="a line to say when the settings have been read; repeatable")
    show_config = option(
        Flag(),
        default=False,
        aliases=("print-config",),
        command_line_only=True,
        about="show each setting and where it came from",
    )
    schema = option(Flag(), default=False, command_line_only=True, about="show the JSON schema of config files")
    version = option(Flag(), default=False, short="V", command_line_only=True, about="show the version")
    help = option(Flag(), default=False, short="h", command_line_only=True, about="show this help")


class Options(
    _Arun,
    _Control,
    _Logs,
    _Websocket,
    _Limits,
    _Serving,
    Recovery,
    _Fallback,
    Workers,
    _Process,
    _Transport,
    _Listen,
    _App,
):
    """All options, in sections; help lists them from the last one to the first."""

    __slots__ = ()
