from __future__ import annotations

from apps.ops.errors import StepFailed
from apps.ops.provision.steps.base import Found, Step

LOOK_SECONDS = 60.0
BUILD_SECONDS = 3600.0
DEPLOY_SECONDS = 7200.0
WITH_WARNINGS = 6
COLORS = ("django-a", "django-b")


class FirstDeploy(Step):
    """The first deployment. From then on `remote deploy` is the way."""

    name = "deploy"

    def look(self) -> Found:
        will = Found(False, f"Build the utility image and deploy {self.wish.branch}.")
        if not self.machine.has(f"{self.machine.directory}/.env"):
            return will
        asked = ["docker", "compose", "ps", "--quiet", *COLORS]
        found = self.machine.user(
            asked, directory=self.machine.directory, seconds=LOOK_SECONDS, check=False
        )
        if found.code == 0 and found.output.strip():
            return Found(True, "A colour runs: it was deployed already.")
        return will

    def act(self) -> str:
        directory = self.machine.directory
        say = self._say
        # The official base images; stand-ins where the server reaches no registry.
        self.machine.root([f"{directory}/docker/standins/ensure"], seconds=BUILD_SECONDS, say=say)
        build = ["docker", "compose", "build", "--quiet", "utility"]
        self.machine.user(build, directory=directory, seconds=BUILD_SECONDS, say=say)
        utility = ["docker", "compose", "run", "--rm", "-T", "utility"]
        deploy = [*utility, "python", "manage.py", "deploy"]
        done = self.machine.user(
            deploy, directory=directory, seconds=DEPLOY_SECONDS, check=False, say=say
        )
        if done.code not in (0, WITH_WARNINGS):
            raise StepFailed(
                f"The first deployment ended with exit code {done.code}: its last lines say why.",
                next=f"manage.py remote --server {self.machine.server.name} deploy",
            )
        return "It is live." if done.code == 0 else "It is live, with the warnings above."

    def _say(self, line: str) -> None:
        self.machine.say(f"  {line}")
