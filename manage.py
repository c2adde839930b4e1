#!/usr/bin/env python
"""Django's command line, with one addition: a missing variable is a sentence, not a traceback."""

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    from django.core.exceptions import ImproperlyConfigured
    from django.core.management import execute_from_command_line

    try:
        execute_from_command_line(sys.argv)
    except KeyboardInterrupt:
        sys.exit(130)
    except ImproperlyConfigured as error:
        sys.exit(
            f"Configuration: {error}\n"
            "Nothing was changed; traffic is as it was.\n"
            "Next: set it in .env (.env.example describes every variable) and run this again."
        )


if __name__ == "__main__":
    main()
