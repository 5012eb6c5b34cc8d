"""`make dashboard`: every query of the Grafana dashboard, asked of a real Prometheus that scrapes a real server.

Needs Prometheus (`apt-get install prometheus`). Prints what each query returned; ends with 1 if one returned nothing.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.replicas.load import Load, asks
from tools import ROOT
from tools.serving import Server, free_port

SHIPPED = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "eah.json"
TARGET, INTERVAL = '"server:8000"', "scrape_interval: 5s"
SETTLE_SECONDS = 120


def main() -> int:
    """Exit status."""
    with Server(["--max-logprobs", "-1"]) as server, prometheus(server.port) as url:
        load = Load(server.url, 4)
        load.run(asks(32, 4), 4)
        without_image = {"model": "scenes", "messages": [{"role": "user", "content": "A dog?"}], "max_tokens": 4}
        assert server.post("/v1/chat/completions", without_image | {"eah": True})[0] == 200
        assert server.post("/v1/chat/completions", without_image | {"eah": {"layer": 99}})[0] == 400
        bad = []
        for title, query in queries():
            found = answer(url, query)
            if not found:  # a rate needs two scrapes, and counts reach the server a second after the request
                load.run(asks(8, 4), 4)
                found = answer(url, query, time.monotonic() + SETTLE_SECONDS)
            sys.stdout.write(f"{title}: {', '.join(found[:4]) or 'NOTHING'}\n")
            bad += [title] if not found else []
        sys.stdout.write(f"samples in a scrape: {answer(url, 'scrape_samples_scraped')}\n")
        groups = get(url, "/api/v1/rules", {})["groups"]
        for rule in (rule for group in groups for rule in group["rules"]):
            sys.stdout.write(f"alert {rule['name']}: {rule['health']}, {rule['state']}\n")
            bad += [rule["name"]] if rule["health"] != "ok" else []
    sys.stdout.write(f"{len(bad)} problems {bad}\n")
    return 1 if bad else 0


def queries() -> Iterator[tuple[str, str]]:
    """Every query, with Grafana's variables filled in."""
    for panel in json.loads(DASHBOARD.read_text())["panels"]:
        for target in panel.get("targets", ()):
            filled = target["expr"].replace("$__rate_interval", "60s").replace("$instance", ".*")
            yield f"{panel['title']} {target['legendFormat']}", filled


@contextmanager
def prometheus(port: int) -> Iterator[str]:
    """A Prometheus with the shipped configuration, but for its target and how often it looks; its address."""
    program = shutil.which("prometheus")
    if program is None:
        raise RuntimeError("this needs Prometheus: apt-get install prometheus")
    own = free_port()
    with tempfile.TemporaryDirectory() as folder:
        shipped = (SHIPPED / "prometheus.yml").read_text()
        assert shipped.count(TARGET) == 1
        assert shipped.count(INTERVAL) == 1
        shipped = shipped.replace(TARGET, f'"127.0.0.1:{port}"').replace(INTERVAL, "scrape_interval: 1s")
        Path(folder, "prometheus.yml").write_text(shipped)
        shutil.copy(SHIPPED / "alerts.yml", folder)
        command = [program, "--config.file", f"{folder}/prometheus.yml", "--storage.tsdb.path", f"{folder}/data"]
        command += ["--web.listen-address", f"127.0.0.1:{own}"]
        with Path(folder, "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            yield f"http://127.0.0.1:{own}"
        finally:
            process.terminate()
            process.wait(30)


def answer(url: str, query: str, deadline: float = 0.0) -> list[str]:
    """Series with a number, as text; asked again until there is one or the deadline has passed."""
    while True:
        result = get(url, "/api/v1/query", {"query": query})["result"]
        found = [f"{entry['metric'] or ''} {entry['value'][1]}" for entry in result]
        found = [text for text, entry in zip(found, result, strict=True) if math.isfinite(float(entry["value"][1]))]
        if found or time.monotonic() >= deadline:
            return found
        time.sleep(0.5)


def get(url: str, path: str, parameters: dict[str, str]) -> Any:
    """`data` of an answer of Prometheus's API."""
    with urllib.request.urlopen(f"{url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as reply:
        return json.load(reply)["data"]


if __name__ == "__main__":
    sys.exit(main())
