"""What somebody tries who has the site's role in Postgres: each is to be refused."""

from __future__ import annotations

# How Postgres says that somebody may not.
REFUSAL = "permission denied|must be owner|must have|not for site_web|denied to"
# What somebody with the site's database tries, on the history and beyond it.
FORBIDDEN = {
    "run a program": "COPY home_message FROM PROGRAM 'id'",
    "run a program with output": "COPY (SELECT 1) TO PROGRAM 'cat'",
    "switch triggers off": "SET session_replication_role = replica",
    "disable a trigger": "ALTER TABLE ops_deployment DISABLE TRIGGER ALL",
    "drop a trigger": "DROP TRIGGER ops_keep_terminal_status ON ops_deployment",
    "rewrite a deployment": "UPDATE ops_deployment SET requested_by = 'eve'",
    "delete deployments": "DELETE FROM ops_deployment",
    "empty the history": "TRUNCATE ops_deployment CASCADE",
    "delete steps": "DELETE FROM ops_step",
    "lock the history": "DO 'BEGIN LOCK TABLE ops_deployment; END'",
    "lift a freeze": "UPDATE ops_freeze SET lifted_at = now()",
    "delete a freeze": "DELETE FROM ops_freeze",
    "forge a freeze": "INSERT INTO ops_freeze (reason, frozen_by, frozen_at, lifted_by)"
    " VALUES ('x', 'eve', now(), '')",
    "forge a release": "INSERT INTO ops_release (sha, subject, author, image, created_at)"
    " VALUES ('a', '', '', '', now())",
    "forge health": "UPDATE ops_check SET status = 'good'",
    "forge a migration": "INSERT INTO django_migrations (app, name, applied)"
    " VALUES ('ops', '9999', now())",
    "forge a deployment that ended": "INSERT INTO ops_deployment (kind, status, ref, color,"
    " requested_by, requested_from, created_at, finished_at, error, traffic, next, commits,"
    " commits_total, warnings) VALUES ('deploy', 'succeeded', 'main', '', 'eve', '', now(), now(),"
    " '', '', '', '[]', 0, '[]')",
    "forge one that an agent took": "INSERT INTO ops_deployment (kind, status, ref, color,"
    " requested_by, requested_from, created_at, uid, error, traffic, next, commits, commits_total,"
    " warnings) VALUES ('deploy', 'queued', 'main', '', 'eve', '', now(), '20261128', '', '', '',"
    " '[]', 0, '[]')",
    "make a function": "CREATE FUNCTION evil() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "make a temporary function": "CREATE FUNCTION pg_temp.evil() RETURNS int LANGUAGE sql"
    " AS 'SELECT 1'",
    "make a trigger": "CREATE TRIGGER evil BEFORE INSERT ON django_q_task FOR EACH ROW"
    " EXECUTE FUNCTION suppress_redundant_updates_trigger()",
    "make a rule": "CREATE RULE evil AS ON INSERT TO home_message DO NOTHING",
    "make a table": "CREATE TABLE evil (id int)",
    "make a temporary table": "CREATE TEMPORARY TABLE evil (id int)",
    "make a schema": "CREATE SCHEMA evil",
    "make an extension": "CREATE EXTENSION dblink",
    "change a table": "ALTER TABLE home_message ADD COLUMN evil int",
    "drop a table": "DROP TABLE home_message",
    "become the owner": "SET ROLE site_owner",
    "become operations": "SET SESSION AUTHORIZATION site_ops",
    "become the superuser": "SET ROLE site",
    "make a role": "CREATE ROLE evil SUPERUSER",
    "promote itself": "ALTER ROLE site_web SUPERUSER",
    "read the passwords": "SELECT rolpassword FROM pg_authid",
    "read a file": "SELECT pg_read_file('/etc/passwd')",
    "read a file as a large object": "SELECT lo_import('/etc/passwd')",
    "list a directory": "SELECT pg_ls_dir('/')",
    "make Postgres read its configuration": "SELECT pg_reload_conf()",
    "change the configuration": "ALTER SYSTEM SET archive_command = 'id'",
}
