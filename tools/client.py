"""An HTTP client for tests and benchmarks: it returns status and text, and reads `/metrics`."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

OWN_KEY = ""
CACHES = ("prefix", "mm", "encoder")


class Client:
    """A client of one server.

    Args:
        url: address of the server, without `/v1`.
        api_key: key that is sent with every request; None sends none.
        seconds: longest time that an answer may take.
    """

    def __init__(self, url: str, api_key: str | None = None, seconds: float = 60) -> None:
        self.url = url
        self.api_key = api_key
        self._seconds = seconds

    def get(self, path: str, key: str | None = OWN_KEY) -> tuple[int, str]:
        """Send a GET and return status and body; `key` replaces the client's own key, and None sends none.

        Raises:
            OSError: nobody answers.
        """
        return self._send(path, None, self.api_key if key == OWN_KEY else key)

    def post(self, path: str, body: dict[str, Any]) -> tuple[int, str]:
        """Send a POST with a JSON body and return status and body.

        Raises:
            OSError: nobody answers.
        """
        return self._send(path, json.dumps(body).encode(), self.api_key)

    def _send(self, path: str, data: bytes | None, key: str | None) -> tuple[int, str]:
        headers = {"Content-Type": "application/json"} if data is not None else {}
        if key is not None:
            headers["Authorization"] = f"Bearer {key}"
        try:
            request = urllib.request.Request(self.url + path, data, headers)
            with urllib.request.urlopen(request, timeout=self._seconds) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def samples(self) -> Iterator[Sample]:
        """Yield every sample of `/metrics`; none where the server has no such route."""
        status, body = self.get("/metrics")
        for family in text_string_to_metric_families(body) if status == 200 else ():
            yield from family.samples

    def metrics(self) -> dict[str, float]:
        """Return the samples of `/metrics`, summed over their labels."""
        summed: defaultdict[str, float] = defaultdict(float)
        for sample in self.samples():
            summed[sample.name] += sample.value
        return summed

    def outcomes(self) -> dict[str, float]:
        """Return `eah_requests_total` by outcome."""
        return {one.labels["outcome"]: one.value for one in self.samples() if one.name == "eah_requests_total"}

    def empty_caches(self) -> None:
        """Let the server forget prompts and pictures; it needs `VLLM_SERVER_DEV_MODE=1`.

        Raises:
            RuntimeError: the server refuses, as it does while a request is under way, or has no such routes.
        """
        for cache in CACHES:
            status, body = self.post(f"/reset_{cache}_cache", {})
            if status != 200 or "false" in body:
                raise RuntimeError(f"/reset_{cache}_cache: {status} {body}")
