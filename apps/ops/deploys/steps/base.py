from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

from apps.ops.deploys.context import Deploy


class Step(ABC):
    """One act of a deployment.

    A step that fails leaves what it did to `undo`, which is also called for the steps before it, in
    reverse. After the swap nothing is undone: a step marked `after_swap` that fails is a warning.
    """

    name: ClassVar[str]
    after_swap: ClassVar[bool] = False

    @abstractmethod
    def run(self, deploy: Deploy) -> str:
        """Act, and say in a few words what came of it.

        Raises:
            OpsError: it failed; nothing after it is done.
        """

    def undo(self, deploy: Deploy) -> bool:
        """Take back what `run` did, as far as it came; safe to call when it did nothing.

        Returns:
            Whether there was anything to take back.
        """
        return False
