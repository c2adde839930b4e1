from __future__ import annotations

from django.db import migrations, models

# The site's jobs write their runs themselves, as the role that the web has. It writes neither over
# those of operations' jobs (a backup that failed), nor over what has ended.
WHOSE = """
CREATE FUNCTION ops_jobrun_whose() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF has_table_privilege('ops_jobrun', 'DELETE') THEN
        RETURN NEW;
    ELSIF TG_OP = 'UPDATE' AND (OLD.by_operations OR OLD.status NOT IN ('running', 'lost')) THEN
        RAISE insufficient_privilege USING MESSAGE = 'this run is not the site''s to change';
    ELSIF EXISTS (SELECT FROM ops_jobrun WHERE job = NEW.job AND by_operations) THEN
        RAISE insufficient_privilege USING MESSAGE = 'this job is not the site''s';
    ELSE
        NEW.by_operations := FALSE;
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER ops_jobrun_whose BEFORE INSERT OR UPDATE ON ops_jobrun FOR EACH ROW
    EXECUTE FUNCTION ops_jobrun_whose();
"""
NOBODYS = """
DROP TRIGGER ops_jobrun_whose ON ops_jobrun;
DROP FUNCTION ops_jobrun_whose();
"""


class Migration(migrations.Migration):
    dependencies = [("ops", "0006_requests")]

    operations = [
        migrations.AddField(
            "jobrun",
            "by_operations",
            models.BooleanField(
                db_default=False,
                editable=False,
                help_text="Not a run that the site wrote down itself.",
            ),
        ),
        migrations.RunSQL(WHOSE, NOBODYS),
    ]
