#!/bin/sh
# Prepares a container, then becomes arun, so that arun is PID 1 and `docker stop` reaches it.
#
#   docker run IMAGE                        arun, with what it finds in /app
#   docker run IMAGE app.py --bind :9000    arun app.py --bind :9000 (options, apps and configs go to arun)
#   docker run IMAGE bash                   bash, as it is: no hooks, no secrets
#
# Before arun starts:
#   /docker-entrypoint.d/   executable *.envsh are sourced, executable *.sh are run, in version order (2-x before 10-x)
#   NAME_FILE=/path         puts the content of the file into NAME, for the names in ENTRYPOINT_SECRETS
#
# What fails here ends the container with status 1: arun has not begun, so its fallback cannot act yet.
set -eu

say() {
    printf 'docker-entrypoint: %s\n' "$1" >&2
}

fail() {
    say "$1"
    exit 1
}

run_hook() {
    case $1 in
    *.envsh | *.sh) ;;
    *) return 0 ;; # a README beside the hooks is no mistake
    esac
    if [ ! -x "$1" ]; then
        say "ignoring $1: it is not executable"
        return 0
    fi
    say "running $1"
    case $1 in
    *.envsh)
        # shellcheck source=/dev/null
        . "$1"
        ;;
    *) "$1" 3<&- || fail "$1 failed with status $?" ;;
    esac
}

run_hooks() {
    [ -d "$1" ] || return 0
    # A loop behind a pipe would run in a subshell, and what the hooks export would be lost: hence the here-document.
    # -L: Kubernetes mounts the files of a ConfigMap as links.
    hooks=$(find -L "$1" -maxdepth 1 -type f | LC_ALL=C sort -V)
    while IFS= read -r hook <&3; do
        [ -z "$hook" ] || run_hook "$hook"
    done 3<<END
$hooks
END
}

read_secret() {
    case $1 in
    '' | [0-9]* | *[!A-Za-z0-9_]*) fail "ENTRYPOINT_SECRETS: '$1' is not the name of a variable" ;;
    esac
    path=$(printenv "${1}_FILE" || :)
    [ -n "$path" ] || return 0
    [ -z "$(printenv "$1" || :)" ] || fail "both $1 and ${1}_FILE are set: keep one of them"
    value=$(cat "$path") || fail "${1}_FILE: cannot read $path"
    export "$1=$value"
    unset "${1}_FILE"
}

# True where the words are meant for arun: an option, an app, a config, or anything that is no command.
meant_for_arun() {
    case ${1:--} in
    # `./manage.py` is taken for an app, executable or not: say `python manage.py` to run it as a program.
    -* | *:* | *.py | *.ini | *.toml | *.yaml | *.yml | *.json) return 0 ;;
    esac
    ! on_path "$1"
}

# Not `command -v`: it also finds the shell's builtins, and exec could not start those.
on_path() (
    case $1 in
    */*) is_program "$1" && exit 0 || exit 1 ;;
    esac
    IFS=:
    for folder in $PATH; do
        if is_program "$folder/$1"; then exit 0; fi
    done
    exit 1
)

is_program() {
    [ -f "$1" ] && [ -x "$1" ]
}

if meant_for_arun "$@"; then
    set -- arun "$@"
fi
if [ "$1" = arun ]; then
    run_hooks "${ENTRYPOINT_HOOKS:-/docker-entrypoint.d}"
    for name in ${ENTRYPOINT_SECRETS-DATABASE_URL REDIS_URL SECRET_KEY}; do
        read_secret "$name"
    done
fi
exec "$@"
