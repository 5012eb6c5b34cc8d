"""`EAH_TRACE=FILE`: one JSON line for each layer of each request that was changed, for tests and for debugging.

It waits for the device after every such layer, so it is not for production.
"""

import json
import logging
import os
from collections.abc import Mapping
from typing import Any

TRACE_VARIABLE = "EAH_TRACE"
logger = logging.getLogger("vllm.eah")


class Trace:
    """Appends lines to a file that several processes may write to."""

    def __init__(self, path: str, common: Mapping[str, Any]) -> None:
        self._file: int | None = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self._common = dict(common)

    def write(self, fields: Mapping[str, Any]) -> None:
        """Write a line in one system call, so that lines of two ranks never mix; write none after one that failed."""
        if self._file is None:
            return
        try:
            os.write(self._file, (json.dumps({**fields, **self._common}) + "\n").encode())
        except OSError as error:
            # A full disk must not end the engine; but a trace with a gap would look like a request without EAH.
            logger.error("EAH_TRACE stops here: %s", error)
            os.close(self._file)
            self._file = None


def open_trace(common: Mapping[str, Any]) -> Trace | None:
    """Open the trace that the environment asks for, None if it asks for none; `common` goes into every line."""
    path = os.environ.get(TRACE_VARIABLE)
    return Trace(path, common) if path else None
