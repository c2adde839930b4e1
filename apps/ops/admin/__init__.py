"""The history, to be read in Django's admin by whoever has its view permissions."""

from django.contrib import admin

from apps.ops.admin.backup import BackupAdmin
from apps.ops.admin.deployment import DeploymentAdmin
from apps.ops.admin.freeze import FreezeAdmin
from apps.ops.admin.release import ReleaseAdmin
from apps.ops.models import Backup, Deployment, Freeze, Release

admin.site.register(Backup, BackupAdmin)
admin.site.register(Deployment, DeploymentAdmin)
admin.site.register(Freeze, FreezeAdmin)
admin.site.register(Release, ReleaseAdmin)
