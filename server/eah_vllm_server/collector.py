"""Asks the workers, over vLLM's RPC, for reports and counts."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from vllm.v1.engine.async_llm import AsyncLLM

from eah_vllm.report import Report, merge_reports
from eah_vllm_server.metrics import EAHMetrics

COUNT_SECONDS = 1.0
"""Seconds between two fetches of the counts while EAH requests come in."""
LIVENESS_SECONDS = 1.0
"""Seconds after which an unanswered call checks again whether its engine is still alive."""
logger = logging.getLogger("vllm.eah")
NOT_EVERYWHERE = (
    "EAH (eah_vllm) cannot run here: an engine of this server runs without it or with other defaults; install the same "
    "version, pass the same --additional-config and set EAH_DISABLE alike wherever its engines run"
)


class ReportCollector:
    """The HTTP process's end of the report path; an engine is asked only when there is something to fetch.

    Several HTTP processes may ask the same workers. A report goes to the one that knows its tag; a count goes to
    whoever asks first, and `/metrics` adds up all processes.
    """

    def __init__(self, engine: AsyncLLM, metrics: EAHMetrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._uncounted = asyncio.Event()
        self._abandoned: list[str] = []
        self._asking: set[asyncio.Task[list[Mapping[str, Any]]]] = set()

    async def check_identity(self, expected: str) -> None:
        """Make sure that every engine runs EAH with equal settings: data-parallel engines may be on several machines.

        Raises:
            RuntimeError: an engine does not run EAH, or runs another version or other settings of it.
        """
        try:
            found = set(await self._ask_workers("eah_identity"))
        except Exception as error:  # vLLM raises no narrower one for what a worker raised
            raise RuntimeError(NOT_EVERYWHERE) from error
        if found != {expected}:
            raise RuntimeError(f"{NOT_EVERYWHERE}: here {expected}; there {', '.join(sorted(found - {expected}))}")

    def expect_counts(self) -> None:
        """Note that an EAH request went to an engine, or ended, so that its counts are fetched soon."""
        self._uncounted.set()

    def abandon(self, tag: str) -> None:
        """Let the workers forget a report that nobody will fetch."""
        self._abandoned.append(tag)
        self._uncounted.set()

    async def reports(self, tags: Mapping[str, str]) -> dict[str, Report]:
        """Fetch what each method did to a request, by its tag; the workers forget these reports."""
        parts = await self._collect(list(tags.values()))
        return {
            method: merge_reports([Report.from_dict(part["reports"][tag]) for part in parts if tag in part["reports"]])
            for method, tag in tags.items()
        }

    async def keep_counting(self) -> None:
        """Fetch counts until cancelled."""
        while True:
            await self._uncounted.wait()
            self._uncounted.clear()
            await asyncio.sleep(COUNT_SECONDS)
            abandoned, self._abandoned = self._abandoned, []
            try:
                parts = await self._collect([], abandoned)
            except Exception:  # vLLM raises no narrower one for what a worker raised
                if self._engine.errored:
                    return  # vLLM ends the server
                logger.exception("EAH: counts could not be fetched; they are asked for again")
                self._abandoned += abandoned
                self._uncounted.set()
                continue
            if any(part["running"] for part in parts):
                self._uncounted.set()

    async def _collect(self, tags: list[str], abandoned: Sequence[str] = ()) -> list[Mapping[str, Any]]:
        # Workers forget what they hand out: a caller that is cancelled, its client gone, must not take counts along.
        asking = asyncio.create_task(self._collect_now(tags, abandoned))
        self._asking.add(asking)  # the event loop alone would not keep it alive
        asking.add_done_callback(self._asking.discard)
        return await asyncio.shield(asking)

    async def _collect_now(self, tags: list[str], abandoned: Sequence[str]) -> list[Mapping[str, Any]]:
        parts: list[Mapping[str, Any]] = await self._ask_workers("eah_collect", tags, abandoned)
        for part in parts:
            for method, outcomes in part["outcomes"].items():
                for outcome, number in outcomes.items():
                    self._metrics.count_requests(method, outcome, number)
            for method, layer, head, number in part["source_heads"]:
                self._metrics.count_source_head(method, layer, head, number)
        return parts

    async def _ask_workers(self, method: str, *args: Any) -> list[Any]:
        # `AsyncLLM.collective_rpc` would ask every engine too, but return only the first one's answers.
        call = asyncio.ensure_future(
            self._engine.engine_core.call_utility_all_async("collective_rpc", method, None, args, None)
        )
        try:
            # vLLM never answers a call under which its engine died.
            while not (await asyncio.wait({call}, timeout=LIVENESS_SECONDS))[0]:
                if self._engine.errored:
                    raise self._engine.dead_error
        finally:
            call.cancel()  # this does nothing to a call that is done
        return [answer for workers in call.result() for answer in workers]
