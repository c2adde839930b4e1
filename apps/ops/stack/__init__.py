import os
import sys

if not os.environ.get("DOCKER_HOST", "").startswith("ssh://"):
    # The Docker SDK imports paramiko for an engine that is reached by SSH, and does without when it
    # cannot: a fifth of a second of every command.
    sys.modules.setdefault("docker.transport.sshconn", None)  # type: ignore[arg-type]
