from typing import Any

import django.db.models.deletion
import django.db.models.functions.datetime
import django.utils.timezone
from django.db import migrations, models

# Who writes a row asks, and no more: neither the answer nor the time is theirs to write.
ONLY_QUESTIONS = """
CREATE FUNCTION ops_request_is_a_question() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.created_at := statement_timestamp();
    NEW.outcome := '';
    NEW.answer := '';
    NEW.answered_at := NULL;
    NEW.deployment_id := NULL;
    RETURN NEW;
END $$;
CREATE TRIGGER ops_request_is_a_question BEFORE INSERT ON ops_request FOR EACH ROW
    EXECUTE FUNCTION ops_request_is_a_question();
"""
DROP_ONLY_QUESTIONS = """
DROP TRIGGER ops_request_is_a_question ON ops_request;
DROP FUNCTION ops_request_is_a_question();
"""

# There was one permission for all that can be asked for: who has it has each of the new ones.
# Without a dependency on Django's own tables, which an empty server does not have yet.
NAMES = {
    "request_deploy": "Can ask for a deployment",
    "request_rollback": "Can ask for a rollback",
    "request_cancel": "Can ask to cancel a deployment",
    "request_freeze": "Can ask to freeze deployments",
    "request_unfreeze": "Can ask to lift a freeze",
}


def one_becomes_many(apps: Any, schema_editor: Any) -> None:
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('auth_permission'), to_regclass('django_content_type')")
        if None in cursor.fetchone():
            return
        cursor.execute(
            "INSERT INTO django_content_type (app_label, model) VALUES ('ops', 'request') "
            "ON CONFLICT (app_label, model) DO NOTHING"
        )
        for codename, name in NAMES.items():
            cursor.execute(
                "INSERT INTO auth_permission (name, content_type_id, codename) "
                "SELECT %s, id, %s FROM django_content_type "
                "WHERE app_label = 'ops' AND model = 'request' "
                "ON CONFLICT (content_type_id, codename) DO NOTHING",
                [name, codename],
            )
        for holders, column in (
            ("auth_group_permissions", "group_id"),
            ("auth_user_user_permissions", "user_id"),
        ):
            cursor.execute("SELECT to_regclass(%s)", [holders])
            if cursor.fetchone() == (None,):
                continue  # Another model of users: its own table is granted by hand.
            cursor.execute(
                f"INSERT INTO {holders} ({column}, permission_id) "  # noqa: S608  (two names)
                f"SELECT held.{column}, new.id FROM {holders} held "
                "JOIN auth_permission old ON old.id = held.permission_id "
                "JOIN django_content_type type ON type.id = old.content_type_id "
                "JOIN auth_permission new ON new.codename = ANY(%s) "
                "JOIN django_content_type own ON own.id = new.content_type_id "
                "WHERE old.codename = 'add_deployment' AND type.app_label = 'ops' "
                "AND own.app_label = 'ops' AND own.model = 'request' ON CONFLICT DO NOTHING",
                [list(NAMES)],
            )


class Migration(migrations.Migration):
    dependencies = [
        ("ops", "0005_canary"),
    ]

    operations = [
        migrations.AddField(
            model_name="freeze",
            name="uid",
            field=models.CharField(
                blank=True, editable=False, max_length=30, null=True, unique=True
            ),
        ),
        migrations.AlterField(
            model_name="freeze",
            name="frozen_at",
            field=models.DateTimeField(default=django.utils.timezone.now),
        ),
        migrations.CreateModel(
            name="SecurityEvent",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="when"
                    ),
                ),
                (
                    "event",
                    models.CharField(
                        choices=[
                            ("login", "Login"),
                            ("login failed", "Login Failed"),
                            ("locked out", "Locked Out"),
                            ("logout", "Logout"),
                            ("password confirmed", "Password Confirmed"),
                            ("asked", "Asked"),
                            ("refused", "Refused"),
                            ("permission denied", "Denied"),
                        ],
                        max_length=20,
                    ),
                ),
                ("username", models.CharField(blank=True, max_length=150, verbose_name="who")),
                ("address", models.CharField(blank=True, max_length=45, verbose_name="from where")),
                ("detail", models.CharField(blank=True, max_length=300, verbose_name="what")),
            ],
            options={
                "ordering": ("-id",),
                "default_permissions": ("view",),
                "indexes": [
                    models.Index(fields=["event", "-at"], name="ops_securit_event_cfc929_idx"),
                    models.Index(
                        fields=["username", "event", "-at"], name="ops_securit_usernam_317498_idx"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="Request",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("deploy", "Deploy"),
                            ("rollback", "Rollback"),
                            ("cancel", "Cancel"),
                            ("freeze", "Freeze"),
                            ("unfreeze", "lift the freeze"),
                        ],
                        max_length=10,
                    ),
                ),
                ("ref", models.CharField(blank=True, max_length=250, verbose_name="what")),
                ("reason", models.CharField(blank=True, max_length=200)),
                ("until", models.DateTimeField(blank=True, null=True)),
                ("requested_by", models.CharField(blank=True, max_length=150)),
                ("requested_from", models.CharField(blank=True, max_length=200)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), verbose_name="when"
                    ),
                ),
                (
                    "outcome",
                    models.CharField(
                        blank=True,
                        choices=[("", "waiting"), ("accepted", "Accepted"), ("refused", "Refused")],
                        default="",
                        max_length=8,
                    ),
                ),
                ("answer", models.CharField(blank=True, max_length=500)),
                ("answered_at", models.DateTimeField(blank=True, null=True)),
                (
                    "deployment",
                    models.OneToOneField(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.SET_NULL,
                        to="ops.deployment",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
                "permissions": (
                    ("request_deploy", "Can ask for a deployment"),
                    ("request_rollback", "Can ask for a rollback"),
                    ("request_cancel", "Can ask to cancel a deployment"),
                    ("request_freeze", "Can ask to freeze deployments"),
                    ("request_unfreeze", "Can ask to lift a freeze"),
                ),
                "default_permissions": ("view",),
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            ("until", None),
                            ("until__range", ("2000-01-01T00:00Z", "2200-01-01T00:00Z")),
                            _connector="OR",
                        ),
                        name="ops_request_until_is_a_time",
                    )
                ],
                "indexes": [
                    models.Index(
                        condition=models.Q(("outcome", "")),
                        fields=["-id"],
                        name="ops_request_waiting",
                    )
                ],
            },
        ),
        migrations.RunSQL(ONLY_QUESTIONS, DROP_ONLY_QUESTIONS),
        migrations.RunPython(one_becomes_many, migrations.RunPython.noop, elidable=True),
    ]
