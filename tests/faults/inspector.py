"""`--worker-extension-cls`: what a test looks at, and holds up, in a worker of a running server."""

import threading
import time
from pathlib import Path
from typing import Any

from tests.soak.inspector import Inspector

HELD_SECONDS = 5.0
HELD_AT_MOST = 60.0


class FaultInspector(Inspector):
    """Mixed into the worker by vLLM, so `self` is the worker."""

    def hold_reports(self, sign: str) -> None:
        """Hold the next report up, and with it all that follow; the file `sign` appears when it is waited for."""
        worker: Any = self
        collect = worker.eah.collect

        def held(tags: list[str], abandoned: list[str]) -> Any:
            if tags:
                worker.eah.collect = collect
                Path(sign).touch()
                threading.Event().wait(HELD_SECONDS)  # a worker ends between two calls, not within one
            return collect(tags, abandoned)

        worker.eah.collect = held

    def hold_engine(self, sign: str, release: str) -> None:
        """Keep the whole engine waiting, from the moment that the file `sign` appears until `release` does."""
        Path(sign).touch()
        deadline = time.monotonic() + HELD_AT_MOST
        while not Path(release).exists() and time.monotonic() < deadline:
            time.sleep(0.01)
