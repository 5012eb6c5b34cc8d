"""Fetches reports and counts from the workers, over vLLM's RPC."""

import asyncio
from collections.abc import Mapping
from typing import Any

from vllm.engine.protocol import EngineClient

from eah_vllm.report import EAHReport, merge_reports
from eah_vllm_server.metrics import EAHMetrics

COUNT_SECONDS = 1.0
"""How often counts are fetched while EAH requests come in."""


class ReportCollector:
    """The HTTP process's end of the report path; an engine is asked only when there is something to fetch."""

    def __init__(self, engine: EngineClient, metrics: EAHMetrics) -> None:
        self._engine = engine
        self._metrics = metrics
        self._uncounted = asyncio.Event()

    def expect_counts(self) -> None:
        """Say that an EAH request went to the engine."""
        self._uncounted.set()

    async def report(self, tag: str) -> EAHReport:
        """What was done to the request with this tag; its workers forget it."""
        parts = await self._collect([tag])
        return merge_reports([EAHReport.from_dict(part["reports"][tag]) for part in parts if tag in part["reports"]])

    async def keep_counting(self) -> None:
        """Fetch counts until cancelled."""
        while True:
            await self._uncounted.wait()
            self._uncounted.clear()
            await asyncio.sleep(COUNT_SECONDS)
            parts = await self._collect([])
            if any(part["running"] for part in parts):
                self._uncounted.set()

    async def _collect(self, tags: list[str]) -> list[Mapping[str, Any]]:
        parts: list[Mapping[str, Any]] = await self._engine.collective_rpc("eah_collect", args=(tags,))
        for part in parts:
            for outcome, number in part["outcomes"].items():
                self._metrics.count_requests(outcome, number)
            for layer, head, number in part["source_heads"]:
                self._metrics.count_source_head(layer, head, number)
        return parts
