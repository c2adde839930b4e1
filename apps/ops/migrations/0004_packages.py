from __future__ import annotations

import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [("ops", "0003_the_week")]

    operations = [
        migrations.CreateModel(
            name="Packages",
            fields=[
                (
                    "release",
                    models.OneToOneField(
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        serialize=False,
                        to="ops.release",
                    ),
                ),
                ("inventory", models.JSONField()),
            ],
            options={"verbose_name_plural": "packages"},
        ),
    ]
