"""One step a file, in the order in which they are done."""

from apps.ops.provision.steps.base import Step
from apps.ops.provision.steps.clone import Clone
from apps.ops.provision.steps.container_logs import ContainerLogs
from apps.ops.provision.steps.deploy_key import DeployKey
from apps.ops.provision.steps.deploy_user import DeployUser
from apps.ops.provision.steps.engine import Engine
from apps.ops.provision.steps.env_file import EnvFile
from apps.ops.provision.steps.firewall import Firewall
from apps.ops.provision.steps.first_deploy import FirstDeploy
from apps.ops.provision.steps.packages import Packages
from apps.ops.provision.steps.supervisor import Supervisor
from apps.ops.provision.steps.system import System
from apps.ops.provision.steps.updates import Updates

STEPS: tuple[type[Step], ...] = (
    System,
    Packages,
    Updates,
    Firewall,
    ContainerLogs,
    Engine,
    DeployUser,
    DeployKey,
    Clone,
    EnvFile,
    Supervisor,
    FirstDeploy,
)
# What a server may have from elsewhere: a firewall before it, updates by its owner, a later deploy.
CAN_SKIP: dict[str, type[Step]] = {"firewall": Firewall, "updates": Updates, "deploy": FirstDeploy}
