"""What a result was measured on: machine, versions and the server's own description, kept with its figures."""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

from load_tests.target import Target
from tools.provenance import commit, machine, versions


def provenance(target: Target) -> dict[str, Any]:
    """Return date, command, commit, machine, versions, and the server's description of itself."""
    try:
        checked_out = commit()
    except (OSError, subprocess.CalledProcessError):
        checked_out = "unknown"  # this is no git clone
    return {
        "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "command": "python -m load_tests " + " ".join(sys.argv[1:]),
        "commit": checked_out,
        "machine": machine(),
        "versions": versions(),
        "server": target.facts(),
    }
