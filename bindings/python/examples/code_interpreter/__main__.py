"""Start the service: ``python -m code_interpreter``, in the directory above."""

from __future__ import annotations

import argparse

from aiohttp import web

from .conversations import Conversations
from .service import application


def main() -> None:
    """Serve until Ctrl-C."""
    parser = argparse.ArgumentParser(prog="code_interpreter", description=__doc__)
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("--most", type=int, default=8, help="conversations at a time")
    parser.add_argument("--idle-seconds", type=float, default=600.0, help="how long one may be idle")
    options = parser.parse_args()
    app = application(lambda: Conversations(most=options.most, idle_seconds=options.idle_seconds))
    web.run_app(app, host="127.0.0.1", port=options.port)


if __name__ == "__main__":
    main()
