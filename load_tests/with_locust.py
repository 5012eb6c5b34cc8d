"""Sends traffic with Locust, headless and in a process of its own: mixed requests, and clients that go away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from load_tests.plan import Ask, body, image_url, question
from load_tests.pool import Pool
from load_tests.records import Record, read_lines
from load_tests.scenario import Traffic
from load_tests.target import Target

LOCUSTFILE = Path(__file__).with_name("locustfile.py")
ONE_ANSWER = 120
"""Seconds for which a user waits for bytes, and for which Locust waits for answers that are under way at the end."""
PLACEHOLDER = "IMAGE-OF-THE-SCENE"


class LocustError(RuntimeError):
    """Locust itself failed; the message has the end of its log."""


def run_locust(
    target: Target, plan: Sequence[Ask], pool: Pool, traffic: Traffic, folder: Path
) -> tuple[list[Record], float]:
    """Send the plan, or as much of it as the time bound allows.

    Args:
        target: the server to ask.
        plan: the requests.
        pool: the scenes that they are about.
        traffic: the number of users and the time bound.
        folder: the folder for Locust's log and statistics, `locust.log` and `locust.json`.

    Returns:
        A record for each request that was sent, and how long all took in seconds.

    Raises:
        LocustError: Locust ended with an error of its own.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plan_file, records_file, log = folder / "plan.json", folder / "records.jsonl", folder / "locust.log"
    plan_file.write_text(json.dumps(_plan(target, plan, pool, traffic)))
    command = [
        sys.executable, "-m", "locust", "--locustfile", str(LOCUSTFILE), "--headless", "--only-summary",
        "--host", target.url, "--users", str(traffic.users), "--spawn-rate", str(traffic.users),
        "--run-time", f"{max(1, round(traffic.seconds))}s", "--stop-timeout", f"{ONE_ANSWER}s",
        "--exit-code-on-error", "0", "--json-file", str(folder / "locust"),
    ]  # fmt: skip
    environment = os.environ | {"EAH_LOAD_PLAN": str(plan_file), "EAH_LOAD_RECORDS": str(records_file)}
    with log.open("wb") as output:
        bound = traffic.seconds + 2 * ONE_ANSWER
        try:
            ended = subprocess.run(command, env=environment, stdout=output, stderr=output, timeout=bound, check=False)
        except subprocess.TimeoutExpired as error:
            raise LocustError(f"Locust did not end within {bound:g} s") from error
    if ended.returncode:
        raise LocustError(f"Locust ended with {ended.returncode}:\n{log.read_text(errors='replace')[-4000:]}")
    records = read_lines(records_file)
    plan_file.unlink()  # it is large: it holds pictures many times
    records_file.unlink()
    if not records:
        raise LocustError(f"Locust sent nothing:\n{log.read_text(errors='replace')[-4000:]}")
    began = min(record.start for record in records)
    return records, max(record.start + record.latency for record in records) - began


def _plan(target: Target, plan: Sequence[Ask], pool: Pool, traffic: Traffic) -> dict[str, Any]:
    """Make the plan's data; equal bodies are stored once for all requests, and pictures once for all bodies."""
    bodies: dict[str, str] = {}
    images: dict[int, str] = {}
    requests = []
    for ask in plan:
        scene = pool.scenes[ask.scene]
        images.setdefault(ask.scene, image_url(scene))
        setting = f"EAH by {ask.way}" if ask.eah else "plain"
        setting += ", verified" if ask.verify else ""
        name = f"{ask.kind}, {setting}{'' if ask.stream else ', whole'}{'' if ask.hang_up is None else ', left'}"
        key = f"{question(scene, ask.kind)[0]} {setting} {ask.stream}"
        if key not in bodies:
            bodies[key] = json.dumps(body(ask, scene, target.model)).replace(images[ask.scene], PLACEHOLDER)
        requests.append({"body": key, "scene": ask.scene, "name": name, "stream": ask.stream, "hang_up": ask.hang_up})
    return {
        "bodies": bodies,
        "images": images,
        "placeholder": PLACEHOLDER,
        "requests": requests,
        "salt": uuid.uuid4().hex if traffic.fresh else "",
        "headers": target.headers,
        "timeout": ONE_ANSWER,
    }
