"""What a release's migrations do to the release that is live beside it."""
