# The docs with live reload, for `docker compose up`. A file of its own: the classic builder builds
# every stage that stands before the one it is asked for.
FROM python:3.13-slim-trixie
WORKDIR /site
COPY requirements/docs.txt requirements/docs.txt
RUN pip install --no-cache-dir --require-hashes -r requirements/docs.txt
COPY mkdocs.yml ./
COPY docs docs
EXPOSE 8001
CMD ["mkdocs", "serve", "--dev-addr", "0.0.0.0:8001"]
