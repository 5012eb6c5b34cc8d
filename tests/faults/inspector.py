"""`--worker-extension-cls`: what a test looks at, and holds up, in a worker of a running server."""

import threading
from pathlib import Path
from typing import Any

from tests.soak.inspector import Inspector

HELD_SECONDS = 5.0


class FaultInspector(Inspector):
    """Mixed into the worker by vLLM, so `self` is the worker."""

    def hold_reports(self, sign: str) -> None:
        """Hand out no report any more; the file `sign` appears when the first one is waited for."""
        worker: Any = self
        collect = worker.eah.collect

        def held(tags: list[str]) -> Any:
            if tags:
                Path(sign).touch()
                threading.Event().wait(HELD_SECONDS)  # a worker ends between two calls, not within one
            return collect(tags)

        worker.eah.collect = held
