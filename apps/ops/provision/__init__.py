"""From a plain Debian or Ubuntu machine to a running site, over SSH."""
