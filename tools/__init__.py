"""What tests, `bench`, `load_tests` and the Makefile share: a way to start a server, and clients for it."""

from pathlib import Path

ROOT = Path(__file__).parents[1]
"""Root folder of the checkout."""
