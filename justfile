# Everything a developer types. Recipes run in containers: the host needs Docker and just, which
# ./bootstrap sees to.

set positional-arguments

root := justfile_directory()
test_image := "changeover-test"
utility := "docker compose run --rm utility python manage.py"

# What there is.
[private]
default:
    @just --list --unsorted

# --- Show it ---------------------------------------------------------------------------------------

# Deploy this commit twice under traffic, on loopback, and print what visitors saw.
[group('show')]
demo port="8080": _test-image
    @just _rig demo --root '{{ root }}/.demo' --port {{ port }}

# Remove the demo: its containers, volumes, images and files.
[group('show')]
demo-down: _test-image
    @just _rig demo-down --root '{{ root }}/.demo'

# Swap 20 times under 200 requests a second and measure: just bench --swaps 5 --rate 100
[group('show')]
bench *arguments: _test-image
    @just _rig bench --root '{{ root }}/.bench' --port 8090 "$@"

# Other ways to change what runs beside ours, under the same visitors: just compare 5 --rate 100
[group('show')]
compare n="5" *arguments: _test-image
    @shift; just _rig compare --root '{{ root }}/.cache/compare' --port 8093 --rate 50 --rounds '{{ n }}' "$@"

# Kill N deployments at random moments, and check that nothing is lost: just chaos 30 --seed 7
[group('show')]
chaos n="30" *arguments: _test-image
    @shift; just _rig chaos --root '{{ root }}/.cache/chaos' --port 8091 --rate 100 --kills '{{ n }}' "$@"

# Cut the link of N remote deployments, and check that nothing is lost: just cuts 30 --seed 7
[group('show')]
cuts n="30" *arguments: _test-image
    @shift; just _rig cuts --root '{{ root }}/.cache/cuts' --port 8092 --rate 100 --rounds '{{ n }}' "$@"

# --- Production: on the server, or from a laptop over SSH --------------------------------------------

# Deploy the remote's main branch, or a REF, without losing a request.
[group('production')]
[no-exit-message]
deploy *arguments:
    @just _production deploy "$@"

# Go back to the newest stable release that differs, or to a RELEASE.
[group('production')]
[no-exit-message]
rollback *arguments:
    @just _production rollback "$@"

# Who gets the traffic, what runs, what was deployed.
[group('production')]
[no-exit-message]
status *arguments:
    @just _production status "$@"

# What is wrong, and what to type; also when Docker does not answer.
[group('production')]
[no-exit-message]
doctor *arguments:
    @just _production doctor "$@"

# Purge the CDN, or the site's own cache: just purge_cache --static --url https://example.org/
[group('production')]
[no-exit-message]
purge_cache *arguments:
    @just _production purge_cache "$@"

# Any of it on a server that OPS_SERVERS names: just remote logs -f, just remote attach
[group('production')]
[no-exit-message]
remote *arguments:
    @docker/laptop remote "$@"

# Make a fresh Debian or Ubuntu machine the site's server: just provision --plan
[group('production')]
[no-exit-message]
provision *arguments:
    @docker/laptop provision "$@"

# --- Development -----------------------------------------------------------------------------------

# Start the local site (http://localhost:8000) and the docs (http://localhost:8001).
[group('development')]
up *arguments: _base-images
    docker compose up --detach --wait "$@"

# Stop the local site; data stays.
[group('development')]
down *arguments:
    docker compose down "$@"

# Follow the logs of all services, or of those named.
[group('development')]
logs *services:
    docker compose logs --follow --tail 100 "$@"

# A Python shell with the models.
[group('development')]
console:
    docker compose run --rm manage python manage.py shell

# A shell in a container of the site's.
[group('development')]
shell:
    docker compose run --rm manage bash

# Any management command: just manage makemigrations
[group('development')]
manage *arguments:
    #!/bin/sh
    # Only the ops commands run beside Docker's socket.
    service=manage
    [ ! -e "apps/ops/management/commands/${1:-}.py" ] || service=utility
    exec docker compose run --rm "$service" python manage.py "$@"

# Serve the docs alone, with live reload, on http://localhost:8001.
[group('development')]
docs: _base-images
    docker compose up docs

# Pin all dependencies anew, with hashes.
[group('development')]
requirements: _test-image
    docker run --rm --volume '{{ root }}:/src' --workdir /src {{ test_image }} requirements/compile

# --- Checking --------------------------------------------------------------------------------------

# Lint, types, unit, integration and end-to-end tests, in one go with one summary.
[group('checking')]
test *arguments: _test-image
    @just _in-test-image tests/run "$@"

# While you work: unit tests, and the lint of what changed. No containers are started.
[group('checking')]
test-quick: _test-image
    @just _in-test-image tests/run quick

# `just test`, and what is only more of the same: thousands of examples instead of some.
[group('checking')]
test-all *arguments: _test-image
    @just _in-test-image tests/run --more "$@"

# Known holes of the pinned dependencies, where the advisories are in reach.
[group('checking')]
audit: _test-image
    @just _in-test-image requirements/audit

# Write the registry's newest digests behind the images' names: just pin-images --unpin takes them out.
[group('checking')]
pin-images *arguments:
    @docker/pin-images "$@"

# Lint and types only.
[group('checking')]
lint: _test-image
    @just _in-test-image tests/run lint

# Format the code in place.
[group('checking')]
fmt: _test-image
    docker run --rm --volume '{{ root }}:/src' --workdir /src --user "$(id -u):$(id -g)" \
        --env RUFF_NO_CACHE=true {{ test_image }} sh -c 'ruff check --fix --quiet .; ruff format .'

# --- Behind the scenes -----------------------------------------------------------------------------

# A server's .env says which compose files are production's, and a laptop's which servers there are.
[no-exit-message]
_production *words:
    #!/bin/sh
    set -eu
    has() { eval "[ -n \"\${$1:-}\" ]" || grep -Eqs "^ *(export +)?$1 *= *[^ #]" .env; }
    if has OPS_SERVERS || ! has COMPOSE_FILE; then
        exec docker/laptop remote "$@"
    elif [ "$1" = doctor ]; then
        shift
        exec docker/doctor "$@"
    fi
    exec {{ utility }} "$@"

# Official base images are pulled; where no registry is in reach, stand-ins are built.
_base-images:
    @docker/standins/ensure

_test-image: _base-images
    @echo "test image: building (cached layers are used)"
    @docker build --quiet --target test --tag {{ test_image }} '{{ root }}' >/dev/null

_rig *arguments:
    @just _in-test-image python -m tests.rig --source '{{ root }}' "$@"

# The engine is the host's; the repository is at its own path, because Compose hands paths to the
# engine; the host's network, because the stacks publish on loopback.
_in-test-image *command:
    #!/bin/sh
    set -eu
    [ -t 1 ] && tty=--tty || tty=
    exec docker run --rm --init $tty --network host \
        --volume /var/run/docker.sock:/var/run/docker.sock \
        --volume '{{ root }}:{{ root }}' --env SOURCE='{{ root }}' --env SECRET_KEY=test-only \
        --env GIT_CONFIG_COUNT=1 --env GIT_CONFIG_KEY_0=safe.directory --env GIT_CONFIG_VALUE_0='*' \
        {{ test_image }} "$@"
