#!/bin/sh
# Starts Redis as the official image does, as far as the compose files use it.
set -eu

case ${1:-} in
-* | *.conf) set -- redis-server "$@" ;;
esac
[ "${1:-}" = redis-server ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    find . \! -user redis -exec chown redis {} +
    exec setpriv --reuid=redis --regid=redis --init-groups "$0" "$@"
fi
# The official build answers other containers; Debian's would answer localhost only.
case " $* " in
*" --protected-mode "*) ;;
*) set -- "$@" --protected-mode no ;;
esac
exec "$@"
