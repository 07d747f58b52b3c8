"""What other runners call by names that arun does not have: a table of uWSGI's, gunicorn's, uvicorn's, hypercorn's and granian's options.

Only a start that meets such a name imports it. Sources: the ``--help`` of uWSGI 2.0.30, gunicorn 27.0, uvicorn 0.54,
hypercorn 0.18 and granian 2.8, and uWSGI's documentation of options. A name that ends in ``=`` takes a value on the
command line (``=a|b`` one of these); one with a star stands for all that begin so, and a longer one goes before a shorter. No name is in two places.
"""

from __future__ import annotations

from functools import cache

from arun.core.values import Value

__all__ = (
    "ATOMS",
    "GREEN",
    "HTTP2",
    "LANGUAGES",
    "OWN_KIND",
    "PLAIN_HTTP",
    "PYTHON_ONLY",
    "SHORT",
    "Meaning",
    "meaning",
    "names",
)


class Meaning(Value):
    """What arun does with a name: ``kind`` is which, ``text`` is an option of arun, a reason, or what to do instead.

    ``same`` is another name for an option of arun; ``silent`` and ``noted`` change nothing that is served, the second is
    reported; ``unsupported`` would change it; ``by-value`` is decided in runner/arun/settings/translation.py.
    """

    kind: str
    text: str = ""
    takes_value: bool = True
    #: The values that may stand behind it as a word of their own, if not any.
    values: tuple[str, ...] = ()


#: Names that depend on their value.
_BY_VALUE = """http= socket= uwsgi-socket= protocol= socket-protocol= home= virtualenv= venv= pyhome=
    plugin= plugins=
    need-plugin= need-plugins= worker-class= log-format= logformat= buffer-size= http-protocols= http2-cleartext=
    header-map= ssl-client-verify umask-or-module= req-logger= logger-req= logger= http-keepalive"""

#: The beginnings of the names of uWSGI's plugins for other languages and protocols.
LANGUAGES = """cgi clojure erlang fastrouter gccgo glusterfs gridfs jvm jwsgi lua mono perl php psgi pypy rack rados
    rawrouter rb ring ruby ssi tuntap v8 webdav xslt"""

#: Short flags of others, by the name that they stand for.
SHORT = {
    "k": "worker-class",
    "n": "name",
    "c": "config",
    "D": "daemon",
    "R": "enable-stdio-inheritance",
    "m": "umask-or-module",
    "H": "home",
    "s": "socket",
    "d": "daemonize",
    "l": "backlog",
    "P": "port",
    "T": "enable-threads",
    "i": "single-interpreter",
    "L": "disable-logging",
}

#: The values of uWSGI's request lines, as the access log writes them.
ATOMS = {
    "addr": "%(h)s",
    "cl": "%{Content-Length}i",
    "ctime": "%(t)s",
    "host": "%(host)s",
    "ltime": "%(t)s",
    "method": "%(m)s",
    "micros": "%(D)s",
    "msecs": "%(M)s",
    "pid": "%P",
    "proto": "%(H)s",
    "referer": "%{Referer}i",
    "rsize": "%(B)s",
    "secs": "%(T)s",
    "size": "%(B)s",
    "status": "%(s)s",
    "time": "%(t)s",
    "tmicros": "%(D)s",
    "tmsecs": "%(M)s",
    "uagent": "%{User-Agent}i",
    "uri": "%U%q",
    "user": "%(u)s",
}

#: Options of arun, and their equivalents elsewhere with the same values.
_SAME = {
    "app": "wsgi-app=",
    "access-logfile": "accesslog=",
    "access-logformat": "access-log-format=",
    "bind": "http11-socket= httprouter=",
    "chdir": "force-cwd= working-dir=",
    "chmod-socket": "uds-permissions=",
    "daemonize": "daemonize2=",
    "env": "raw-env=",
    "env-file": "env-files=",
    "gid": "immediate-gid=",
    "https-socket": "https=",
    "limit-concurrency": "backpressure=",
    "limit-request-body": "limit-post= chunked-input-limit=",
    "log-file": "logto2= errorlog= error-log=",
    "log-level": "loglevel=",
    "loop": "asgi-loop=",
    "max-worker-lifetime": "workers-lifetime=",
    "pidfile": "pidfile2= safe-pidfile= safe-pidfile2= pid-file=",
    "print": "iprint=",
    "proxy-protocol": "enable-proxy-protocol http-enable-proxy-protocol",
    "reload-on-rss": "evil-reload-on-rss=",
    "root-path": "url-path-prefix=",
    "shared-socket": "undeferred-shared-socket=",
    "ssl-ca-certs": "ssl-ca=",
    "ssl-cert-reqs": "verify-mode=",
    "ssl-certfile": "ssl-certificate=",
    "ssl-keyfile-password": "keyfile-password=",
    "ssl-version": "ssl-protocol-min=",
    "threads": "blocking-threads=",
    "timeout-body": "chunked-input-timeout= read-timeout=",
    "timeout-body timeout-write": "http-timeout= socket-timeout=",
    "timeout-graceful-shutdown": "reload-mercy= worker-reload-mercy= workers-kill-timeout=",
    "timeout-header": "http-headers-timeout=",
    "timeout-keep-alive": "keepalive=",
    "timeout-write": "so-send-timeout socket-send-timeout so-write-timeout socket-write-timeout",
    "touch-reload": "touch-chain-reload= fs-reload= fs-brutal-reload=",
    "uid": "immediate-uid=",
    "ws-max-size": "websocket-max-message-size=",
    "ws-ping-interval": "websocket-ping-interval=",
}

#: Names without a visible effect: ignored in a section of uWSGI, noted where they are given to arun itself.
_SILENT = """die-on-term exit-on-reload lazy lazy-apps single-interpreter enable-threads no-threads-wait thunder-lock strict
    no-orphans close-on-exec close-on-exec2 honour-stdin daemons-honour-stdin memory-report auto-procname procname*=
    ignore-sigpipe ignore-write-errors write-errors-tolerance= write-errors-exception-only disable-write-exception
    harakiri-verbose harakiri-graceful-*= harakiri-queue-threshold= harakiri-no-arh no-harakiri-* backtrace-depth=
    mule-reload-mercy= mule-harakiri= skip-zero skip-atexit skip-atexit-teardown min-worker-lifetime=
    max-worker-lifetime-delta= locks= lock-engine= ftok= persistent-ipcsem safe-fd= fd-safe= max-vars= max-apps=
    freebind no-initgroups initgroups so-keepalive tcp-nodelay no-defer-accept tcp-fast-open*= tcp-fastopen*=
    socket-sndbuf= socket-rcvbuf= shutdown-sockets no-fd-passing use-abort reaper ksm= never-swap pcre-jit prio=
    mem-collector-freq= check-interval= forkbomb-delay= weight= auto-weight= post-buffering= post-buffering-bufsize=
    body-read-warning= manage-script-name no-default-app ignore-script-name offload-threads= offload-thread=
    disable-sendfile honour-range mimefile= mime-file= wsgi-disable-file-wrapper wsgi-env-behaviour= wsgi-env-behavior=
    start_response-nodelay start-response-nodelay wsgi-strict py-programname= py-program-name= py-executable=
    py-sys-executable= python-version py-call-* reload-os-env threads-stacksize= thread-stacksize= thread-stack-size=
    threads-stack-size= rpc-max= clock= response-headers-limit= allowed-modifiers= log-x-forwarded-for log-master*=
    log-reopen threaded-logger master-as-root http-processes= http-workers= http-events= http-gracetime= http-quiet=
    http-cheap http-uid= http-gid= http-buffer-size= http-connect-timeout= http-harakiri= http-auto-chunked
    http-raw-body http-chunked-input http-websockets http-manage-expect= mode= binsh= propagate-touch
    http-server-name-as-http-host= ssl-verbose ssl-tmp-dir= ssl-sessions-*= ssl-session-*= plugin-dir= plugins-dir=
    autoload touch-mules-reload= touch-spoolers-reload= sharedarea-*= mule-msg-size= signal-bufsize= signals-bufsize=
    check-mount= mount-check= mountpoint-check= check-mountpoint= static-gzip*= static-expires*= static-index=
    static-safe= static-skip-ext= static-cache-*= cron-harakiri= spooler-*= subscribe-freq= subscription-tolerance="""

_ONE_PER_APP = "run one instance of arun for each app, each started by systemd or in a container of its own"
_AS_A_SERVICE = "let systemd (ExecStartPre=, ExecStartPost=, PrivateMounts= ...) or the container do it"
_BESIDE = "run it beside arun, as a service or container of its own"
_UWSGI_API = "it is for apps that import the module uwsgi, which is not there: use a service of its own (Redis, Celery, cron ...)"
_FILES = (
    "let the proxy in front serve files, or the app: WhiteNoise for WSGI, StaticFiles for ASGI, add_static for aiohttp"
)
_ROUTES = "arun serves one app, and rewrites nothing: put the rules into the proxy in front, or into the app"
_FIELDS = "set the field in the app, or in the proxy in front"
PLAIN_HTTP = "arun speaks HTTP: use {bind}, and proxy_pass (not uwsgi_pass) in nginx"
_IN_APP = "do it in the module that makes the app, and name that module"
PYTHON_ONLY = "arun runs Python apps, of aiohttp, ASGI or WSGI; it has no plugins"
_LOGIC = "write the lines out, or let another config {include} them"
_ROUTER = "it belongs to uWSGI's routers: put nginx or another proxy in front, and {bind}"
GREEN = "arun runs WSGI apps in threads, {threads} says how many; make the app ASGI or aiohttp for more at a time"
_STRICT_HTTP = "arun refuses such requests, as RFC 9112 wants it; mend the client, or clean them in the proxy"
HTTP2 = "arun speaks HTTP/1.1: let the proxy in front speak HTTP/2 to clients"
_JAIL = "let systemd (RootDirectory=, PrivateNetwork= ...) or a container confine the process"

#: Members of families of names with values that are flags themselves; a value may only stand behind their equals sign.
_FLAGS = """alarm-list alarms-list cache-no-expire cache-report-freed-items cache-use-last-modified carbon-name-resolve
    carbon-no-workers carbon-resolve-names carbon-use-metrics cheaper-algo-list cheaper-algos-list cheaper-list
    cheaper-busyness-verbose emperor-graceful-shutdown emperor-magic-exec emperor-no-blacklist emperor-nofollow
    emperor-tyrant emperor-tyrant-nofollow exit fastrouter-cheap fastrouter-fallback-on-no-key fastrouter-use-cache
    fastrouter-use-socket http-manage-expect http-use-socket http-use-cache imperial-monitor-list imperial-monitors-list
    jailed ksm log-master log-master-req-stream log-master-stream log-prefix metric-dir-restore metrics-no-cores
    metrics-dir-restore mule mule-msg-size nagios rawrouter-cheap rawrouter-use-cache rawrouter-xclient
    rawrouter-use-socket reload-on-exception rsyslog-split-messages setns-preopen snmp spooler-ordered spooler-quiet
    static-gzip-all stats-http stats-no-cores stats-min stats-minified stats-no-metrics subscription-dotsplit
    subscriptions-use-credentials tcp-fast-open-client tcp-fastopen-client symcall-use-next zerg-fallback
    http1-keep-alive http1-pipeline-flush http2-adaptive-window metrics respawn-failed-workers
    reload-ignore-worker-failure"""

#: What would change the site, by what to do instead.
_UNSUPPORTED = {
    _ONE_PER_APP: "emperor= emperor*= vassal*= imperial-*= vhost vhost-host worker-mount= dirty-app= early-emperor",
    "name the app itself: {app} FILE or {app} MODULE:ATTRIBUTE, and {root-path} /PATH where the proxy passes the whole path;"
    " for several apps run an instance of arun for each": "mount=",
    _BESIDE: "attach-daemon= attach-*= smart-attach-daemon= smart-attach-*= mule= mules= farm= spooler= spooler-external= worker-exec= worker-exec2= cgi* symcall*=",
    "use a timer of systemd, cron, or a CronJob of Kubernetes": "cron= cron2= unique-cron= legion-cron= timer= rbtimer= signal-*=",
    _UWSGI_API: "cache= cache2= cache-*= add-cache-item= load-file-in-cache*= queue*= sharedarea= signal= touch-signal= "
    "fs-signal= py-sharedarea= upload-progress= check-cache spooler-import= spooler-py*=",
    _FILES: "static-map= static-map2= static-*= check-static= check-static-docroot static-check= file-serve-mode= fileserve-mode= docroot=",
    _ROUTES: "route= route-run= route*= router-list routers-list final-route*= error-route*= response-route*= error-page-*=",
    "answer plain requests with a redirect in the app, or let the proxy in front do it": "http-to-https=",
    _FIELDS: "add-header= rem-header= del-header= collect-header= pull-header= response-header-collect= header=",
    "arun believes X-Forwarded-* of {forwarded-allow-ips}; where the app is shown is {root-path}": "forwarder-headers= "
    "secure-scheme-headers=",
    PLAIN_HTTP: "suwsgi-socket= ssl-socket= puwsgi-socket= fastcgi-*= scgi-*= raw-socket= raw-modifier*= zmq* udp= ",
    _ROUTER: "fastrouter*= rawrouter*= sslrouter*= forkptyrouter*= tuntap*= zerg*= subscribe*= st= subscription*= "
    "start-unsubscribed unsubscribe-* http-to= http-var= http-use-*= http-zerg= http-fallback= http-modifier*= "
    "http-subscription-*= http-resubscribe= http-stud-prefix= http-manage-rtsp http-manage-source http-socket-modifier*= "
    "https-socket-modifier*= legion*= multicast*= map-socket= remap-modifier= gateway*= force-gateway",
    "write unix:@NAME with {bind}": "abstract-socket",
    "say {ssl-certfile} and {ssl-keyfile} once for each certificate; the one for a name is found by itself": "sni* sni=",
    "say {https-socket} for the address that speaks TLS, and {bind} for the one that does not": "insecure-bind=",
    HTTP2: "http2 quic-bind= https2= spdy*=",
    "let the proxy in front look at Host": "server-name= server-names=",
    "keep a list of revoked certificates in the proxy in front": "ssl-crl=",
    "set PYTHONOPTIMIZE in the environment of the service": "optimize= no-site",
    _IN_APP: "import= pyimport= py-import= python-import= shared-import= shared-pyimport= shared-py-import= shared-python-import= pymodule-alias= post-pymodule-alias= eval= "
    "pyargv= pyrun= pyshell* paste= paster= paste-global= raw-paste-global-conf= ini-paste*= pecan= web3= pump= wsgi-lite= "
    "test= wsgi-accept-buffer wsgi-accept-buffers python-raw= python-worker-override= chdir2=",
    PYTHON_ONLY: "php*= psgi*= perl*= rack*= rails*= ruby*= rb-*= rvm*= rbenv*= lua*= jvm*= jwsgi*= ring*= clojure*= mono*= "
    "pypy*= v8*= erlang*= glusterfs*= rados*= gridfs*= webdav*= xslt*= ssi* geoip*= dlopen= build-plugin= loop-list "
    "exit= no-server command-mode binary-path= privileged-*= unprivileged-*= gccgo*= python= py=",
    _LOGIC: "inherit= inject-*= declare-option*= resolve= get= blacklist= whitelist= end-blacklist end-whitelist xml= xmlconfig= "
    "js= yml= sqlite*= ldap*= pgsql*= extract= set= set-placeholder= set-ph= connect-and-read=",
    GREEN: "gevent= gevent-* greenlet ugreen ugreen-stacksize= async= stackless coroae= asyncio=",
    _JAIL: "chroot= pivot-root= pivot_root= jail*= unshare*= setns*= namespace*= ns= ns-*= cgroup*= refork* re-fork* linux-ns*=",
    _AS_A_SERVICE: "hook-*= exec-*= call-*= after-request-*= mount-*= umount-*= file-write= envdir= early-envdir= unenv= "
    "add-gid= touch-exec= flock= flock2= flock-wait= flock-wait2=",
    _STRICT_HTTP: "strip-header-spaces permit-* casefold-http-method",
    "to go to the background use {daemonize} FILE, where the lines go": "daemon",
    "use {show-config}: it judges all settings and starts nothing": "check-config",
    "use {fallback-config} none": "no-fallback",
    "signal the pid yourself: kill -HUP reloads, kill -TERM stops": "stop= pause= suspend= resume=",
    "hooks are Python, and arun has none: do it in the app's own start-up": "on-starting= on-reload= on-exit= when-ready= "
    "pre-fork= post-fork= post-worker-init= worker-int= worker-abort= pre-exec= pre-request= post-request= child-exit= "
    "worker-exit= nworkers-changed= ssl-context= on-dirty-starting= dirty-post-fork= dirty-worker-*=",
}

OWN_KIND = "arun finds the kind of app by itself"
_ROTATE = "the logs are opened again on SIGUSR1"
_ALL_RUN = "all workers run all the time"
_NO_RELOAD = "arun reloads on SIGHUP, and when what {touch-reload} names is touched: a file, a folder, a pattern"
_NO_STATS = "arun has no statistics of its own"
_LINES = "lines go to {log-file} and {access-logfile}, or to standard error"

#: Names that are left out and reported in one line, by the reason, which may be empty.
_NOTED = {
    "": "proc-name= default-proc-name= name= process-name= worker-tmp-dir= tmp-upload-dir= spew backlog-metric "
    "disable-redirect-access-to-syslog reset-contextvars asgi-disconnect-grace-period= uwsgi-allow-from= uwsgi-allow-ips= "
    "http-parser= http2-*= http1-*= http-auto-gzip sendfile no-sendfile runtime-*= task-impl= log no-log logger-class= "
    "blocking-threads-idle-timeout= respawn-*= dirty-*= suppress-ragged-eofs do-handshake-on-connect ssl-enable* ssl-option= "
    "ssl-verify-depth= limit-as= limit-nproc= max-fd= profiler= dump-options print-sym= list "
    "logfile-chown logfile-chmod= py-tracebacker= websockets-*= websocket-max-size= websocket-ping-freq= websocket-pong-tolerance= binary-append-data= "
    "cflags dot-h config-py usage print-symbol= master-fifo= notify-socket= plugins-list plugin-list clock-list clocks-list loops-list loggers-list verify-flags=",
    "a supervisor's lines are in the log": "control-socket= control-socket-mode= control-socket-disable no-control-socket",
    "what the app prints goes where the lines go": "capture-output enable-stdio-inheritance",
    OWN_KIND: "lifespan= asgi-lifespan= ws=auto|none|websockets|websockets-sansio|wsproto",
    "arun writes no colours": "use-colors no-use-colors",
    "the app sets up its own logging": "log-config= log-config-json= logconfig= logconfig-dict= logconfig-json=",
    _NO_RELOAD: "reload reload-engine= reload-extra-file= reload-extra-files= reload-dir= reload-dirs= reload-include= "
    "reload-includes= reload-exclude= reload-excludes= reload-delay= reload-paths= reload-ignore*= reload-tick= "
    "py-autoreload= py-auto-reload= python-autoreload= python-auto-reload= py-auto-reload-ignore=",
    _ALL_RUN: "cheap cheaper= cheaper*= idle= die-on-idle",
    _NO_STATS: "stats= stats*= metric*= enable-metrics carbon*= nagios= rrdtool*= snmp*= statsd*= dogstatsd-tags= ping*= "
    "enable-backlog-metric http-stats*= http-ss= rss-sample*= heartbeat=",
    _LINES: "syslog syslog-*= log-syslog log-syslog-*= rsyslog*= log-socket= log-encoder= log-req-encoder= "
    "log-drain= log-filter= log-route= log-req-route= logger-list log-zero log-slow= log-4xx log-5xx log-big= log-sendfile= "
    "log-ioerror= logdate log-date log-prefix= log-micros logformat-strftime log-format-strftime access-log-fmt= paste-logger "
    "alarm*= log-alarm= not-log-alarm= not-alarm-log= lq-alarm= backlog-alarm= listen-queue-alarm= segfault-alarm=",
    _ROTATE: "touch-logrotate= touch-logreopen= log-truncate log-maxsize= log-backupname=",
    "{debug} shows causes": "catch-exceptions reload-on-exception*= exception-handler=",
    "{reload-on-rss} bounds a worker's memory": "reload-on-as= evil-reload-on-as= reload-on-fd= brutal-reload-on-fd=",
    "let the service manager order the start": "wait-*=",
    "the user is changed before the app is loaded": "drop-after-*",
}


class _Table(Value):
    """The names by themselves, and the beginnings of names, the longest first."""

    exact: dict[str, Meaning]
    beginnings: list[tuple[str, Meaning]]


@cache
def _table() -> _Table:
    exact: dict[str, Meaning] = {}
    beginnings: dict[str, Meaning] = {}

    def add(kind: str, text: str, listed: str) -> None:
        for word in listed.split():
            name, equals, values = word.partition("=")
            found = Meaning(kind, text, bool(equals), tuple(values.split("|")) if values else ())
            if name.endswith("*"):
                beginnings.setdefault(name[:-1], found)
            else:
                exact.setdefault(name, found)

    add("by-value", "", _BY_VALUE)
    for option, listed in _SAME.items():
        add("same", option, listed)
    for kind, groups in (("unsupported", _UNSUPPORTED), ("noted", _NOTED), ("silent", {"": _SILENT})):
        for text, listed in groups.items():
            add(kind, text, listed)
    table = _Table(exact, sorted(beginnings.items(), key=lambda one: -len(one[0])))
    for name in _FLAGS.split():
        family = exact.get(name) or next(found for beginning, found in table.beginnings if name.startswith(beginning))
        exact[name] = family._replace(takes_value=False)
    return table


def meaning(name: str) -> Meaning | None:
    """Return what arun does with a name of others, written with dashes; None for one that no runner has."""
    table = _table()
    if name in table.exact:
        return table.exact[name]
    return next((found for beginning, found in table.beginnings if name.startswith(beginning)), None)


def names() -> list[str]:
    """Return all names that are written out."""
    return list(_table().exact)
