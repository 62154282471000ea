"""Runs the service, both as ``python path/to/code_service`` and as ``python -m code_service``."""

import sys
from pathlib import Path

if not __package__:
    # Started by path: make the directory above importable instead of this one, so that our module names
    # cannot shadow anybody else's.
    sys.path[0] = str(Path(__file__).resolve().parent.parent)

from code_service import forks  # noqa: E402
from code_service.service import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(show_forks=forks.show))
