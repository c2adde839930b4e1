"""What each role may do with each table: written down once, in `WEB`, and made so by `apply`.

The owner may change tables. Operations (the utility service) may read and write all rows. The site
(web and worker) may read and write its own, and of operations' tables (`ops_…`) only what stands
here: everything that it may write, somebody who broke into it can forge.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from psycopg import sql

from apps.ops.roles.logins import OPS, OWNER, WEB, Logins

DML = ("SELECT", "INSERT", "UPDATE", "DELETE")
READ = ("SELECT",)
OURS = "ops_"


@dataclass(frozen=True, slots=True)
class Rights:
    """On one table.

    Attributes:
        privileges: on all columns.
        columns: a privilege on some columns only.
    """

    privileges: tuple[str, ...] = ()
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def pairs(self) -> set[tuple[str, str]]:
        """Each privilege with its column, "" for all of them."""
        some = {(privilege, c) for privilege, names in self.columns.items() for c in names}
        return {(privilege, "") for privilege in self.privileges} | some


# The site's rights, where they are not the usual ones: all rows of its own tables, and of
# operations' tables nothing but to read them.
SITES: Mapping[str, Rights] = {
    # What is applied decides what a deployment does.
    "django_migrations": Rights(READ),
    # The worker says which release it runs; that is taken for a claim.
    "ops_canary": Rights(READ, columns={"UPDATE": ("answered_at", "release")}),
    # A page may ask, and no more: migration 0006 leaves nothing but the question of such a row.
    # Of the site's own jobs: migration 0007 tells them from operations'.
    "ops_jobrun": Rights(("SELECT", "INSERT", "UPDATE")),
    "ops_request": Rights(("SELECT", "INSERT")),
    "ops_securityevent": Rights(("SELECT", "INSERT")),
}


class Cursor(Protocol):
    """Django's or psycopg's."""

    def execute(self, query: Any, params: Any = None, /) -> Any: ...
    def fetchall(self) -> list[Any]: ...


@dataclass(frozen=True, slots=True)
class Table:
    schema: str
    name: str
    kind: str
    oid: int

    @property
    def quoted(self) -> str:
        return quote(self.schema, self.name)


def quote(*names: str) -> str:
    return sql.Identifier(*names).as_string(None)


def of_the_site(table: str) -> Rights:
    return SITES.get(table) or Rights(READ if table.startswith(OURS) else DML)


def missing(cursor: Cursor, logins: Logins) -> list[str]:
    """The statements that would make the rights in this database what is written here; none when
    they are, or when there are no roles."""
    if not roles_exist(cursor, logins):
        return []
    return [
        *_on_the_database(cursor, logins),
        *_on_schemas(cursor, logins),
        *_on_tables(cursor, logins),
        *_on_new_tables(cursor, logins),
    ]


def apply(cursor: Cursor, logins: Logins) -> list[str]:
    """Make them so, as the tables' owner. One that is so already is not touched.

    Returns:
        What was executed.
    """
    done = missing(cursor, logins)
    for statement in done:
        cursor.execute(statement)
    return done


def roles_exist(cursor: Cursor, logins: Logins) -> bool:
    names = [logins.name(kind) for kind in (OWNER, WEB, OPS)]
    cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = ANY(%s)", [names])
    return len(cursor.fetchall()) == len(names)


def _rows(cursor: Cursor, question: str, *parameters: object) -> list[Any]:
    cursor.execute(question, list(parameters))
    return cursor.fetchall()


def _change(
    wanted: set[tuple[str, str]], found: set[tuple[str, str]], on: str, role: str
) -> Iterator[str]:
    for verb, word, pairs in (
        ("REVOKE", "FROM", found - wanted),
        ("GRANT", "TO", wanted - found),
    ):
        for privilege, column in sorted(pairs):
            what = f"{privilege} ({quote(column)})" if column else privilege
            yield f"{verb} {what} ON {on} {word} {role}"


def _on_the_database(cursor: Cursor, logins: Logins) -> Iterator[str]:
    ((name,),) = _rows(cursor, "SELECT current_database()")
    found = _granted(
        cursor,
        logins,
        "SELECT '' AS key, '' AS part, a.grantee, a.privilege_type FROM pg_database,"
        " aclexplode(coalesce(datacl, acldefault('d', datdba))) a"
        " WHERE datname = current_database()",
    )
    wanted = {WEB: {"CONNECT"}, OPS: {"CONNECT", "TEMPORARY"}, "": set()}
    for kind, role in _grantees(logins):
        privileges = {(privilege, "") for privilege in wanted[kind]}
        yield from _change(
            privileges, found.get(("", role), set()), f"DATABASE {quote(name)}", role
        )


def _on_schemas(cursor: Cursor, logins: Logins) -> Iterator[str]:
    found = _granted(
        cursor,
        logins,
        "SELECT nspname AS key, '' AS part, a.grantee, a.privilege_type FROM pg_namespace,"
        " aclexplode(coalesce(nspacl, acldefault('n', nspowner))) a",
    )
    for schema in sorted({table.schema for table in tables(cursor)} | {"public"}):
        for kind, role in _grantees(logins):
            has = found.get((schema, role), set())
            wanted = {("USAGE", "")} if kind else has & {("USAGE", "")}
            yield from _change(wanted, has, f"SCHEMA {quote(schema)}", role)


def _on_tables(cursor: Cursor, logins: Logins) -> Iterator[str]:
    found = _granted(
        cursor,
        logins,
        "SELECT c.oid AS key, '' AS part, a.grantee, a.privilege_type"
        " FROM pg_class c, aclexplode(c.relacl) a"
        " UNION ALL SELECT attrelid, attname, a.grantee, a.privilege_type"
        " FROM pg_attribute, aclexplode(attacl) a WHERE NOT attisdropped",
    )
    for table in tables(cursor):
        on = f"{'SEQUENCE ' if table.kind == 'S' else ''}{table.quoted}"
        for kind, role in _grantees(logins):
            yield from _change(_wanted(table, kind), found.get((table.oid, role), set()), on, role)


def _wanted(table: Table, kind: str) -> set[tuple[str, str]]:
    if table.kind == "S":
        # A table's identity needs none; that is what operations' tables have.
        site = ("USAGE", "SELECT") if not table.name.startswith(OURS) else ()
        privileges = {WEB: site, OPS: ("USAGE", "SELECT", "UPDATE"), "": ()}[kind]
        return Rights(privileges).pairs
    return {WEB: of_the_site(table.name), OPS: Rights(DML), "": Rights()}[kind].pairs


def _on_new_tables(cursor: Cursor, logins: Logins) -> Iterator[str]:
    """For operations only: whether a new table is one that the site may write is told by its name,
    at the end of the migrations (`apply`, from post_migrate)."""
    owner, ops = quote(logins.name(OWNER)), quote(logins.name(OPS))
    found = {
        kind
        for (kind,) in _rows(
            cursor,
            "SELECT defaclobjtype::text FROM pg_default_acl, aclexplode(defaclacl) a"
            " WHERE defaclrole = %s::regrole AND defaclnamespace = 0 AND a.grantee = %s::regrole",
            owner,
            ops,
        )
    }
    for letter, privileges, kind in (
        ("r", ", ".join(DML), "TABLES"),
        ("S", "USAGE, SELECT, UPDATE", "SEQUENCES"),
    ):
        if letter not in found:
            yield (
                f"ALTER DEFAULT PRIVILEGES FOR ROLE {owner} GRANT {privileges} ON {kind} TO {ops}"
            )


def tables(cursor: Cursor) -> list[Table]:
    """Tables, views and sequences, without those of extensions."""
    rows = _rows(
        cursor,
        "SELECT n.nspname, c.relname, c.relkind::text, c.oid::bigint FROM pg_class c"
        " JOIN pg_namespace n ON n.oid = c.relnamespace"
        " WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S') AND n.nspname !~ '^pg_'"
        " AND n.nspname <> 'information_schema' AND NOT EXISTS (SELECT FROM pg_depend d"
        "  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')"
        " ORDER BY 1, 2",
    )
    return [Table(*row) for row in rows]


def _grantees(logins: Logins) -> Iterable[tuple[str, str]]:
    """As in statements; "" is everybody."""
    return (WEB, quote(logins.name(WEB))), (OPS, quote(logins.name(OPS))), ("", "PUBLIC")


_BY_NAME = """
SELECT key, part, CASE WHEN grantee = 0 THEN 'PUBLIC' ELSE quote_ident(rolname) END, privilege_type
FROM (QUESTION) given LEFT JOIN pg_roles r ON r.oid = grantee
"""


def _granted(
    cursor: Cursor, logins: Logins, question: str
) -> dict[tuple[Any, str], set[tuple[str, str]]]:
    """By what it is on and who has it: privileges and columns."""
    found: dict[tuple[Any, str], set[tuple[str, str]]] = {}
    rows = _rows(cursor, _BY_NAME.replace("QUESTION", question))
    roles = {role: role for _, role in _grantees(logins)}
    # Postgres quotes a name only when it must.
    roles |= {logins.name(kind): quote(logins.name(kind)) for kind in (WEB, OPS)}
    for key, part, grantee, privilege in rows:
        if role := roles.get(grantee):
            found.setdefault((key, role), set()).add((privilege, part))
    return found
