# One image for web and worker (`app`); `utility` and `test` stand on the same layers.
# Plain instructions only: it must build with BuildKit and with the classic builder alike.

FROM python:3.13-slim-trixie AS base
ENV PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# A number that a host's users do not have: files on volumes belong to nobody else.
RUN groupadd --gid 10001 app \
    && useradd --uid 10001 --gid app --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin app \
    && install -d -o app -g app /srv/media /var/lib/jobs \
    && install -d /srv/static /srv/edge /var/lib/changeover /var/backups/changeover /app
WORKDIR /app
COPY requirements/base.txt requirements/base.txt
RUN pip install --require-hashes -r requirements/base.txt
# What is in it, for `manage.py sbom`; and for a deployment, to say what a new image brings.
COPY docker/inventory.py /usr/local/lib/changeover/inventory.py
RUN python /usr/local/lib/changeover/inventory.py


FROM base AS app
COPY . .
# Bytecode and the static manifest belong to the release: made once here, not at every start.
RUN python -m compileall -q apps config \
    && SECRET_KEY=build-only python manage.py collectstatic --noinput --verbosity 0
ARG RELEASE=unreleased
ENV RELEASE=${RELEASE} MEDIA_ROOT=/srv/media
USER 10001:10001
EXPOSE 8000
HEALTHCHECK --interval=5s --timeout=3s --start-period=60s --retries=3 \
    CMD ["python", "docker/healthcheck.py"]
# Exec form: gunicorn is the process that gets the signals.
CMD ["gunicorn", "--config", "config/gunicorn.conf.py", "config.wsgi"]


FROM base AS tools
# git fetches; docker, buildx and compose build and start; pg_dump and psql back up; ssh reaches git;
# nano is for `remote env edit`.
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        ca-certificates docker-buildx docker-cli docker-compose git nano openssh-client postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && python /usr/local/lib/changeover/inventory.py


FROM tools AS utility
COPY --from=app /app /app
ARG RELEASE=unreleased
ENV RELEASE=${RELEASE} MEDIA_ROOT=/srv/media ROLE=utility
ENTRYPOINT ["docker/utility-entrypoint"]
CMD ["python", "manage.py", "status"]


FROM tools AS test
COPY requirements/test.txt requirements/test.txt
RUN apt-get update \
    && apt-get install -y --no-install-recommends \
        docker-registry just nginx-light openssh-server postgresql redis-server supervisor \
    && rm -rf /var/lib/apt/lists/* \
    && pip install --require-hashes -r requirements/test.txt
COPY --from=caddy:2 /usr/bin/caddy /usr/local/bin/caddy
COPY --from=app /app /app
ENV MEDIA_ROOT=/tmp/media ROLE=test
