"""The code: git owns it, and this is the only code that runs git."""

from apps.ops.source.checkout import Checkout, Commit, Signature

__all__ = ["Checkout", "Commit", "Signature"]
