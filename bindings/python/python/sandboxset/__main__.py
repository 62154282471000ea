"""`python -m sandboxset`: the program `sandboxset` for whoever has only the Python package."""

import argparse
import sys

from ._native import doctor


def main() -> int:
    """Run the command that the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandboxset",
        epilog="Exit codes: 0 a sandbox can be made, 1 none can be made, 2 wrong usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    text = "says what this host can do for sandboxes, why not more, and how to change that"
    doctor_parser = commands.add_parser("doctor", help=text, description=text)
    doctor_parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    diagnosis = doctor()
    sys.stdout.write(diagnosis.to_json() if arguments.json else str(diagnosis))
    return 0 if diagnosis.can_make_sandboxes else 1


if __name__ == "__main__":
    sys.exit(main())
