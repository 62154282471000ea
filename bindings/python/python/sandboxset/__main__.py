"""`python -m sandboxset`: the program `sandboxset` for whoever has only the Python package."""

import argparse
import sys

from ._native import doctor, self_test


def main() -> int:
    """Run the command that the arguments ask for; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m sandboxset",
        epilog="Exit codes: 0 a sandbox can be made, or nothing escaped; 1 none can be made, or something did; "
        "2 wrong usage.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    text = "says what this host can do for sandboxes, why not more, and how to change that"
    doctor_parser = commands.add_parser("doctor", help=text, description=text)
    doctor_parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    text = "tries to break out of sandboxes on this host, about 140 times, and says what became of it"
    test_parser = commands.add_parser("self-test", help=text, description=text)
    test_parser.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    arguments = parser.parse_args()
    if arguments.command == "self-test":
        report, passed = self_test(json=arguments.json)
        sys.stdout.write(report)
        return 0 if passed else 1
    diagnosis = doctor()
    sys.stdout.write(diagnosis.to_json() if arguments.json else str(diagnosis))
    return 0 if diagnosis.can_make_sandboxes else 1


if __name__ == "__main__":
    sys.exit(main())
