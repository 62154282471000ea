"""Tests of the code-running service; they need no sandbox."""
