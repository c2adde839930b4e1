"""The roles of Postgres: does the site sign in as the one that can do no harm, with its rights?"""

from __future__ import annotations

from django.conf import settings as django

from apps.ops.conf import OpsSettings
from apps.ops.health.checks import sql
from apps.ops.health.result import Result, bad, good
from apps.ops.roles import rights
from apps.ops.roles.make import not_owned

DEPLOY = "manage.py deploy"
_SUPERUSERS = """
SELECT DISTINCT application_name FROM pg_stat_activity JOIN pg_roles ON rolname = usename
WHERE rolsuper AND datname = current_database()
    AND (application_name LIKE 'web%' OR application_name = 'worker')
ORDER BY 1
"""


def look(settings: OpsSettings) -> Result:
    logins = django.POSTGRES_LOGINS
    if not logins.are_kept_here:
        return good("Not used: everything signs in as one role (no volumes for their passwords).")
    try:
        with sql.asking() as postgres, postgres.cursor() as cursor:
            there = rights.roles_exist(cursor, logins)
            supers = [name for (name,) in cursor.execute(_SUPERUSERS).fetchall()]
            foreign = not_owned(cursor, logins) if there else []
            wrong = rights.missing(cursor, logins)
    except sql.Away as away:
        return bad(f"{away}.", next=away.next)
    if not there:
        return bad(
            "The database's roles were not made yet: the site is Postgres' superuser.",
            next=f"{DEPLOY}   # makes them",
        )
    if supers:
        return bad(
            f"{' and '.join(supers)} signed in as Postgres' superuser: whoever breaks into the "
            "site has the whole server of Postgres.",
            next=f"{DEPLOY}   # a release that knows the roles",
            superusers=len(supers),
        )
    if foreign or wrong:
        first = (foreign or wrong)[0]
        return bad(
            f"The database's roles have other rights than the release that runs here says "
            f"({len(foreign) + len(wrong)}; the first that is to be done: {first}).",
            next=DEPLOY,
            changes=len(foreign) + len(wrong),
        )
    return good("Web and worker sign in as a role that has the rights it needs, and no others.")
