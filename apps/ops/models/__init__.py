from apps.ops.models.deployment import Deployment
from apps.ops.models.release import Release
from apps.ops.models.step import Step

__all__ = ["Deployment", "Release", "Step"]
