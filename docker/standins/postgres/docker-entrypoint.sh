#!/bin/sh
# Starts PostgreSQL as the official image does, as far as the compose files use it.
set -eu

die() {
    echo "postgres: $*" >&2
    exit 1
}

# setting NAME DEFAULT: $NAME, else the content of the file that $NAME_FILE names, else DEFAULT.
setting() {
    eval "value=\${$1:-} file=\${$1_FILE:-}"
    if [ -z "$value" ] && [ -n "$file" ]; then
        value=$(cat "$file")
    fi
    export "$1=${value:-$2}"
}

prepare_as_root() {
    mkdir -p "$PGDATA"
    find "$PGDATA" \! -user postgres -exec chown postgres {} +
    chmod 0700 "$PGDATA"
}

run_sql() {
    psql -v ON_ERROR_STOP=1 --no-psqlrc --quiet --username "$POSTGRES_USER" "$@"
}

run_init_scripts() {
    for script in /docker-entrypoint-initdb.d/*; do
        case $script in
        *.sh)
            echo "postgres: running $script"
            if [ -x "$script" ]; then "$script"; else sh "$script"; fi
            ;;
        *.sql)
            echo "postgres: running $script"
            run_sql --dbname "$POSTGRES_DB" --file "$script"
            ;;
        esac
    done
}

# Everything happens in a directory of its own that is moved into place at the end, PG_VERSION
# last: no kill, at any moment, leaves something that a later start takes for a whole database.
initialise() {
    setting POSTGRES_USER postgres
    setting POSTGRES_PASSWORD ''
    setting POSTGRES_DB "$POSTGRES_USER"
    setting POSTGRES_INITDB_ARGS ''
    [ -n "$POSTGRES_PASSWORD" ] ||
        die 'no database yet, and POSTGRES_PASSWORD is empty: set it and start again'

    if [ -e "$new" ]; then
        echo 'postgres: a first start was cut short: starting it over'
        find "$PGDATA" -mindepth 1 -maxdepth 1 \! -name lost+found -exec rm -rf {} +
    fi
    [ -z "$(find "$PGDATA" -mindepth 1 -maxdepth 1 \! -name lost+found)" ] ||
        die "$PGDATA is not empty and is no database (it has no PG_VERSION)"
    mkdir -m 0700 "$new"

    # Unquoted: the variable holds several arguments.
    # shellcheck disable=SC2086
    printf '%s\n' "$POSTGRES_PASSWORD" |
        initdb --pgdata="$new" --username="$POSTGRES_USER" --pwfile=/dev/stdin $POSTGRES_INITDB_ARGS
    echo 'host all all all scram-sha-256' >>"$new/pg_hba.conf"

    export PGPASSWORD="$POSTGRES_PASSWORD"
    # On the socket only: nobody may take this server for the finished one.
    pg_ctl --pgdata="$new" --wait -o "-c listen_addresses=''" start
    if [ "$POSTGRES_DB" != postgres ]; then
        echo 'CREATE DATABASE :"name"' | run_sql --dbname postgres --set "name=$POSTGRES_DB"
    fi
    run_init_scripts
    pg_ctl --pgdata="$new" --wait --mode=fast stop
    unset PGPASSWORD

    find "$new" -mindepth 1 -maxdepth 1 \! -name PG_VERSION -exec mv -t "$PGDATA" {} +
    mv "$new/PG_VERSION" "$PGDATA"
    rmdir "$new"
}

case ${1:-} in
-*) set -- postgres "$@" ;;
esac
[ "${1:-}" = postgres ] || exec "$@"

if [ "$(id -u)" = 0 ]; then
    prepare_as_root
    exec setpriv --reuid=postgres --regid=postgres --init-groups "$0" "$@"
fi
new=$PGDATA/.initialising
[ -e "$PGDATA/PG_VERSION" ] || initialise
exec "$@"
