"""What happened, to be read in Django's admin by whoever has its view permissions."""

from django.contrib import admin

from apps.ops.admin.asked import RequestAdmin
from apps.ops.admin.backup import BackupAdmin
from apps.ops.admin.check import CheckAdmin
from apps.ops.admin.deployment import DeploymentAdmin
from apps.ops.admin.freeze import FreezeAdmin
from apps.ops.admin.job import JobRunAdmin
from apps.ops.admin.purge import PurgeAdmin
from apps.ops.admin.release import ReleaseAdmin
from apps.ops.admin.security_event import SecurityEventAdmin
from apps.ops.logins import LoginForm
from apps.ops.models import (
    Backup,
    Check,
    Deployment,
    Freeze,
    JobRun,
    Purge,
    Release,
    Request,
    SecurityEvent,
)

admin.site.login_form = LoginForm

admin.site.register(Backup, BackupAdmin)
admin.site.register(Check, CheckAdmin)
admin.site.register(Deployment, DeploymentAdmin)
admin.site.register(Freeze, FreezeAdmin)
admin.site.register(JobRun, JobRunAdmin)
admin.site.register(Purge, PurgeAdmin)
admin.site.register(Release, ReleaseAdmin)
admin.site.register(Request, RequestAdmin)
admin.site.register(SecurityEvent, SecurityEventAdmin)
