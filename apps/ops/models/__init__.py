from apps.ops.models.backup import Backup
from apps.ops.models.deployment import Deployment
from apps.ops.models.freeze import Freeze
from apps.ops.models.release import Release
from apps.ops.models.step import Step

__all__ = ["Backup", "Deployment", "Freeze", "Release", "Step"]
