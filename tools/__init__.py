"""What tests, `bench`, `load_tests` and the Makefile share: a server's start, and clients for it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""The checkout."""
