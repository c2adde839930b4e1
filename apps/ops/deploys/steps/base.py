from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from apps.ops.deploys.context import Deploy


class Step(ABC):
    """One act of a deployment.

    A step that fails leaves what it did to `undo`, which is also called for the steps before it, in
    reverse. After the swap nothing is undone: a step marked `after_swap` that fails is a warning.

    A step keeps nothing in itself that undoing or finishing needs: its process can be killed
    between any two lines, and another one then undoes or finishes with a new instance. It writes
    that down with `deploy.intend` before it acts. `undo` and an `after_swap` step's `run` can be
    called on whatever was left, and again: they look at what is there, and make it what it should
    be.
    """

    name: ClassVar[str]
    after_swap: ClassVar[bool] = False
    # Done also for a killed deployment that a rollback only closes: visitors wait for it.
    closes: ClassVar[bool] = False

    @abstractmethod
    def run(self, deploy: Deploy) -> str:
        """Act, and say in a few words what came of it.

        Raises:
            OpsError: it failed; nothing after it is done.
        """

    def undo(self, deploy: Deploy) -> bool:
        """Take back what `run` intended, as far as it came; safe to call when it did nothing.

        Returns:
            Whether there was anything to take back.
        """
        return False
