"""Telling people that a check turned bad, and that it is good again."""
