from __future__ import annotations

from apps.ops.errors import Cancelled, StepFailed
from apps.ops.presenters.followed import Followed
from apps.ops.provision.steps.base import Found, Step
from apps.ops.remote import commands
from apps.ops.remote.commands import Words
from apps.ops.remote.following import Follower, Wish

LOOK_SECONDS = 60.0
BUILD_SECONDS = 3600.0
WITH_WARNINGS = 6
# As docker/supervisor/stack asks it, without which nobody is live.
_LIVE = "if [ -e /srv/edge/live/green ]; then echo django-b; else echo django-a; fi"


class FirstDeploy(Step):
    """The first deployment, as `remote deploy` does it: it goes on when the link is lost."""

    name = "deploy"

    def look(self) -> Found:
        will = Found(False, f"Build the utility image and deploy {self.wish.branch}.")
        if not self.machine.has(f"{self.machine.directory}/.env"):
            return will
        if name := self._that_runs():
            return Found(False, f"Follow the deployment that was begun ({name}).")
        # Not whether a colour runs: a deployment that was killed leaves one that nobody gets.
        live = self._docker("compose", "exec", "-T", "caddy", "sh", "-c", _LIVE)
        if live and self._docker("compose", "ps", "--quiet", live):
            return Found(True, f"{live} gets the traffic: it was deployed already.")
        return will

    def act(self) -> str:
        server = self.machine.server
        follower = Follower(
            server,
            lambda: self.machine.connect(self.machine.deploy_user),
            say=self._say,
            wish=lambda: Wish.DETACH,
        )
        name = self._that_runs()
        try:
            name = name or self._start(follower)
            shown = Followed(Words.of(["deploy"]))
            try:
                code = follower.follow(name, on_stdout=shown.stdout, on_stderr=shown.stderr)
            finally:
                shown.pause()
        except Cancelled as error:
            if name:
                error.traffic = "The deployment goes on there."
                error.next = f"{server.command(f'attach {name}')}   # follows it again"
            raise
        finally:
            follower.close()
        if code not in (0, WITH_WARNINGS):
            raise StepFailed(
                f"The first deployment ended with exit code {code}: its last lines say why.",
                next=server.command("deploy"),
            )
        return "It is live." if code == 0 else "It is live, with the warnings above."

    def _that_runs(self) -> str:
        """The deployment that an earlier run has begun, and that has not ended."""
        its = f"label={commands.LABEL}={self.machine.directory}"
        named = "name=^remote-deploy-"
        running = self._docker("ps", "--filter", its, "--filter", named, "--format", "{{.Names}}")
        return running.partition("\n")[0]

    def _start(self, follower: Follower) -> str:
        directory = self.machine.directory
        # The official base images; stand-ins where the server reaches no registry.
        self.machine.root(
            [f"{directory}/docker/standins/ensure"], seconds=BUILD_SECONDS, say=self._say
        )
        self._say("Building the utility image, which takes some minutes.")
        # Compose with the classic builder is never quiet: what it says is shown when it fails.
        build = ["docker", "compose", "build", "--quiet", "utility"]
        self.machine.user(build, directory=directory, seconds=BUILD_SECONDS)
        words, name = Words.of(["deploy"]), commands.new_name("deploy")
        argv = commands.detached(
            directory, words, name=name, by=self.wish.requested_by, environment={}
        )
        follower.start(argv, name)
        return name

    def _docker(self, *arguments: str) -> str:
        """What it says, or nothing where it fails."""
        done = self.machine.user(
            ["docker", *arguments],
            directory=self.machine.directory,
            seconds=LOOK_SECONDS,
            check=False,
        )
        return done.output.strip() if done.code == 0 else ""

    def _say(self, line: str) -> None:
        self.machine.say(f"  {line}")
