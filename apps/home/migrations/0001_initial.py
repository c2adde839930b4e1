from django.db import migrations, models
from django.db.models import Q

import apps.home.models


class Migration(migrations.Migration):
    initial = True

    dependencies = ()

    operations = (
        migrations.CreateModel(
            name="Message",
            fields=[
                (
                    "id",
                    models.BigAutoField(
                        auto_created=True, primary_key=True, serialize=False, verbose_name="ID"
                    ),
                ),
                ("name", models.CharField(max_length=80)),
                ("text", models.TextField(max_length=2000, verbose_name="message")),
                ("picture", models.ImageField(blank=True, upload_to=apps.home.models.picture_path)),
                ("created_at", models.DateTimeField(auto_now_add=True, verbose_name="posted")),
                ("welcomes", models.PositiveIntegerField(default=0, editable=False)),
                (
                    "welcomed_at",
                    models.DateTimeField(editable=False, null=True, verbose_name="welcomed"),
                ),
            ],
            options={
                "ordering": ("-id",),
                "indexes": (
                    models.Index(fields=["created_at"], name="home_message_created_at"),
                    models.Index(
                        fields=["welcomes"],
                        condition=~Q(welcomes=1),
                        name="home_message_not_welcomed_once",
                    ),
                ),
            },
        ),
    )
