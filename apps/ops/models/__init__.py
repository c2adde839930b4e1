from apps.ops.models.backup import Backup
from apps.ops.models.canary import Canary
from apps.ops.models.check import Check, Flip
from apps.ops.models.deployment import Deployment
from apps.ops.models.freeze import Freeze
from apps.ops.models.job import JobRun
from apps.ops.models.purge import Purge
from apps.ops.models.release import Packages, Release
from apps.ops.models.request import Request
from apps.ops.models.security_event import SecurityEvent
from apps.ops.models.step import Step

__all__ = [
    "Backup",
    "Canary",
    "Check",
    "Deployment",
    "Flip",
    "Freeze",
    "JobRun",
    "Packages",
    "Purge",
    "Release",
    "Request",
    "SecurityEvent",
    "Step",
]
