import django.db.models.deletion
from django.db import migrations, models

# Whoever writes it (this code, the admin, a shell, another release): what ended, ended so.
KEEP_TERMINAL = """
CREATE FUNCTION ops_keep_terminal_status() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'deployment % has ended (%): its status cannot change', OLD.id, OLD.status
        USING ERRCODE = 'check_violation';
END $$;
CREATE TRIGGER ops_keep_terminal_status BEFORE UPDATE ON ops_deployment FOR EACH ROW
    WHEN (
        OLD.status IN ('succeeded', 'failed', 'rolled back', 'interrupted')
        AND NEW.status IS DISTINCT FROM OLD.status
    )
    EXECUTE FUNCTION ops_keep_terminal_status();
"""
DROP_KEEP_TERMINAL = """
DROP TRIGGER ops_keep_terminal_status ON ops_deployment;
DROP FUNCTION ops_keep_terminal_status();
"""


class Migration(migrations.Migration):
    initial = True

    dependencies = []

    operations = [
        migrations.CreateModel(
            name="Release",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("sha", models.CharField(max_length=40, unique=True, verbose_name="commit")),
                ("subject", models.CharField(blank=True, max_length=200)),
                ("author", models.CharField(blank=True, max_length=200)),
                ("committed_at", models.DateTimeField(blank=True, null=True)),
                ("image", models.CharField(blank=True, max_length=80, verbose_name="image digest")),
                ("created_at", models.DateTimeField(auto_now_add=True)),
            ],
            options={
                "ordering": ("-created_at",),
            },
        ),
        migrations.CreateModel(
            name="Deployment",
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
                        choices=[("deploy", "Deploy"), ("rollback", "Rollback")],
                        default="deploy",
                        max_length=10,
                    ),
                ),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("queued", "queued"),
                            ("running", "running"),
                            ("succeeded", "succeeded"),
                            ("failed", "failed (traffic never moved)"),
                            ("rolled back", "rolled back (traffic moved and moved back)"),
                            ("interrupted", "interrupted"),
                        ],
                        default="queued",
                        max_length=12,
                    ),
                ),
                ("ref", models.CharField(max_length=250, verbose_name="asked for")),
                ("color", models.CharField(blank=True, max_length=5, verbose_name="colour")),
                ("requested_by", models.CharField(blank=True, max_length=150)),
                ("requested_from", models.CharField(blank=True, max_length=200)),
                ("created_at", models.DateTimeField(auto_now_add=True)),
                ("started_at", models.DateTimeField(blank=True, null=True)),
                ("swapped_at", models.DateTimeField(blank=True, null=True)),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("exit_code", models.PositiveSmallIntegerField(blank=True, null=True)),
                ("error", models.TextField(blank=True, verbose_name="what was found")),
                (
                    "traffic",
                    models.CharField(
                        blank=True, max_length=300, verbose_name="what it meant for the traffic"
                    ),
                ),
                ("next", models.CharField(blank=True, max_length=300, verbose_name="what to type")),
                (
                    "commits",
                    models.JSONField(
                        blank=True,
                        default=list,
                        help_text="The commits that came with it, newest first.",
                    ),
                ),
                ("commits_total", models.PositiveIntegerField(default=0)),
                ("warnings", models.JSONField(blank=True, default=list)),
                (
                    "previous_release",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="followed_by",
                        to="ops.release",
                    ),
                ),
                (
                    "release",
                    models.ForeignKey(
                        blank=True,
                        null=True,
                        on_delete=django.db.models.deletion.PROTECT,
                        related_name="deployments",
                        to="ops.release",
                    ),
                ),
            ],
            options={
                "ordering": ("-id",),
            },
        ),
        migrations.CreateModel(
            name="Step",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("position", models.PositiveSmallIntegerField()),
                ("name", models.CharField(max_length=30)),
                (
                    "status",
                    models.CharField(
                        choices=[
                            ("running", "Running"),
                            ("succeeded", "Succeeded"),
                            ("failed", "Failed"),
                            ("undone", "Undone"),
                        ],
                        default="running",
                        max_length=10,
                    ),
                ),
                ("started_at", models.DateTimeField()),
                ("finished_at", models.DateTimeField(blank=True, null=True)),
                ("summary", models.CharField(blank=True, max_length=300)),
                (
                    "output",
                    models.TextField(blank=True, help_text="Its last lines, without secrets."),
                ),
                (
                    "deployment",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="steps",
                        to="ops.deployment",
                    ),
                ),
            ],
            options={
                "ordering": ("deployment", "position"),
            },
        ),
        migrations.AddIndex(
            model_name="deployment",
            index=models.Index(fields=["status", "-id"], name="ops_deploym_status_1f5504_idx"),
        ),
        migrations.AddIndex(
            model_name="deployment",
            index=models.Index(fields=["-created_at"], name="ops_deploym_created_f0f940_idx"),
        ),
        migrations.AddConstraint(
            model_name="deployment",
            constraint=models.UniqueConstraint(
                models.F("status"),
                condition=models.Q(("status", "running")),
                name="ops_one_running_deployment",
                violation_error_message="Another deployment is running.",
            ),
        ),
        migrations.AddConstraint(
            model_name="deployment",
            constraint=models.CheckConstraint(
                condition=models.Q(
                    ("finished_at__isnull", False),
                    models.Q(
                        ("status__in", ("succeeded", "failed", "rolled back", "interrupted")),
                        _negated=True,
                    ),
                    _connector="OR",
                ),
                name="ops_terminal_deployment_is_finished",
            ),
        ),
        migrations.AddConstraint(
            model_name="step",
            constraint=models.UniqueConstraint(
                fields=("deployment", "position"), name="ops_step_position_is_unique"
            ),
        ),
        migrations.RunSQL(KEEP_TERMINAL, DROP_KEEP_TERMINAL),
    ]
