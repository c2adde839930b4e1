"""Whoever has the web writes pickles into all that it can write: nothing beside Docker's socket
reads one."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Iterator

import pytest

from tests.e2e.test_the_stack import live_service
from tests.rig.stack import ScratchStack, run

# On a volume that only the utility service has.
TOUCHED = "/var/lib/changeover/touched-by-a-pickle"
READ = "/var/lib/changeover/pickles-read"


class Payload:
    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return eval, (f"__import__('pathlib').Path({TOUCHED!r}).touch()",)


PICKLE = base64.b64encode(pickle.dumps(Payload())).decode()

# What an attacker runs in the web's container. Each part may be refused; rows of tasks cannot be,
# because the site queues them.
ATTACK = """
import base64, os, sys
import django
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
django.setup()
import redis
from django.conf import settings
from django.db import Error, connection

evil = sys.argv[1]

def sql(statement):
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement.replace("EVIL", f"'{evil}'"))
    except Error as error:
        print("refused:", error)

sql('''CREATE FUNCTION evil() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    NEW.result := EVIL; NEW.args := EVIL; NEW.kwargs := EVIL; RETURN NEW; END $$''')
sql('''CREATE TRIGGER evil BEFORE INSERT OR UPDATE ON django_q_task
    FOR EACH ROW EXECUTE FUNCTION evil()''')
sql('''INSERT INTO django_q_task (id, name, func, args, kwargs, result, started, stopped, success,
    attempt_count) SELECT name, name, 'apps.ops.canary.answer', EVIL, EVIL, EVIL, now() - age,
    now() - age, name = 'new', 1 FROM (VALUES ('new', interval '0'), ('old', interval '1 year'),
    ('failed', interval '0')) AS rows (name, age)''')
sql("UPDATE django_q_task SET args = EVIL, kwargs = EVIL, result = EVIL")
sql("UPDATE django_session SET session_data = EVIL")
sql("UPDATE ops_canary SET release = left(EVIL, 40), answered_at = now()")
cache = settings.CACHES["default"]
store = redis.Redis.from_url(cache["LOCATION"])
named = [f"{cache['KEY_PREFIX']}:1:{name}" for name in ("site", "ops:ready", "anything")]
for key in [*store.scan_iter(), *named]:
    store.set(key, base64.b64decode(evil))
with connection.cursor() as cursor:
    cursor.execute("SELECT count(*) FROM django_q_task WHERE result = %s", [evil])
    print("WRITTEN", cursor.fetchone()[0])
"""
CLEAN_UP = """
DROP TRIGGER IF EXISTS evil ON django_q_task;
DROP FUNCTION IF EXISTS evil();
DELETE FROM django_q_task;
DELETE FROM django_session;
"""
# Seen by each Python that starts with it, before anything else is imported.
WATCH = f"""
import pickle
import sys
import traceback

def note(what):
    with open({READ!r}, "a") as file:
        print(sys.argv, what, *traceback.format_stack(), sep="\\n", file=file)

def noted(read):
    def reading(*arguments, **keywords):
        note(read.__name__)
        return read(*arguments, **keywords)
    return reading

class Unpickler(pickle.Unpickler):
    def load(self):
        note("load")
        return super().load()

pickle.load, pickle.loads, pickle.Unpickler = noted(pickle.load), noted(pickle.loads), Unpickler
sys.addaudithook(lambda event, args: event == "pickle.find_class" and note(args))
"""


@pytest.fixture
def watched(stack: ScratchStack) -> tuple[str, ...]:
    """The options with which each Python in a utility container writes down what it unpickles."""
    watch = stack.site / ".scratch" / "watch"
    watch.mkdir(exist_ok=True)
    (watch / "sitecustomize.py").write_text(WATCH)
    return ("--env", f"PYTHONPATH={watch}")


@pytest.fixture
def attacked(stack: ScratchStack) -> Iterator[None]:
    web = f"{stack.project}-{live_service(stack)}-1"
    try:
        said = run(["docker", "exec", web, "python", "-c", ATTACK, PICKLE]).output
        assert int(said.splitlines()[-1].removeprefix("WRITTEN ")) >= 3
        yield
    finally:
        psql = ["psql", "--username", "site", "--dbname", "site", "--quiet", "--command", CLEAN_UP]
        stack.compose("exec", "-T", "postgres", *psql)
        stack.compose("exec", "-T", "redis", "redis-cli", "flushall")


def in_utility(stack: ScratchStack, script: str, *options: str) -> str:
    argv = ("run", "--rm", "-T", *options, "utility", "sh", "-euxc", script)
    return stack.compose(*argv, seconds=300).output


# Each container takes as long to start as its command takes.
COMMANDS = """
for command in status canary "check_health --exit-zero" clean_up history; do
    python manage.py $command
done
python manage.py purge_cache --redis --noinput
python manage.py doctor || case $? in 1 | 3) ;; *) exit 1 ;; esac  # It finds things.
timeout --signal TERM 10 python manage.py agent || [ $? = 124 ]
"""
READERS = (
    "from django_q.models import Task; [task.result for task in Task.objects.all()]",
    "from django.core.cache import cache; cache.get('anything')",
)


@pytest.mark.usefixtures("attacked")
def test_no_command_reads_a_pickle_that_the_web_wrote(
    stack: ScratchStack, watched: tuple[str, ...]
) -> None:
    harm = f"import base64, pickle; pickle.loads(base64.b64decode('{PICKLE}'))"
    in_utility(stack, f'python -c "{harm}"; ls {TOUCHED} {READ}; rm {TOUCHED} {READ}', *watched)

    in_utility(stack, COMMANDS, *watched)
    stack.commit("Deployed beside pickles", lambda project: None)
    deployed = stack.deploy(options=watched)

    assert deployed.code == 0, deployed.output
    in_utility(stack, f"[ ! -e {TOUCHED} ]; [ ! -e {READ} ] || {{ cat {READ}; exit 1; }}")
    # Whoever wants to is stopped.
    tries = "\n".join(f'python manage.py shell --no-imports -c "{code}" || :' for code in READERS)
    in_utility(stack, f"{tries}\n[ ! -e {TOUCHED} ]")
