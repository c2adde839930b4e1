"""The history, to be read in Django's admin by whoever has its view permissions."""

from django.contrib import admin

from apps.ops.admin.deployment import DeploymentAdmin
from apps.ops.admin.release import ReleaseAdmin
from apps.ops.models import Deployment, Release

admin.site.register(Deployment, DeploymentAdmin)
admin.site.register(Release, ReleaseAdmin)
