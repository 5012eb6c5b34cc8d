"""The file that Locust runs: users take the next request of the plan, read its stream, and hang up as planned.

It runs in a process of its own (`with_locust.py`), because gevent changes the standard library. It reads the plan from
the file `EAH_LOAD_PLAN`, and writes a JSON line for each request to the file `EAH_LOAD_RECORDS`.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gevent
from locust import FastHttpUser, events, task
from locust.exception import StopUser

PLAN: dict[str, Any] = json.loads(Path(os.environ["EAH_LOAD_PLAN"]).read_text())
RECORDS = Path(os.environ["EAH_LOAD_RECORDS"]).open("w", encoding="utf-8")  # noqa: SIM115 - closed as the process ends
TODO: Iterator[tuple[int, dict[str, Any]]] = iter(enumerate(PLAN["requests"]))
QUITTING: list[Any] = []
LONGEST_PAUSE = 10.0


@events.quitting.add_listener
def _close(**_: Any) -> None:
    RECORDS.close()


class User(FastHttpUser):
    """Sends its next request as soon as the last one is over; all users share the plan."""

    network_timeout = PLAN["timeout"]
    connection_timeout = PLAN["timeout"]
    default_headers = PLAN["headers"]

    @task
    def ask(self) -> None:
        """Send one request; after the last request of the plan, Locust lets the other users finish theirs."""
        idx, request = next(TODO, (-1, {}))
        if idx < 0:
            _quit_once(self.environment.runner)
            raise StopUser
        record: dict[str, Any] = {"ask": idx, "outcome": "failed", "error": "not over when Locust stopped waiting"}
        data = _body(idx, request)
        record["start"] = time.perf_counter()
        try:
            self._send(data, record, request)
            if record["outcome"] == "refused":
                gevent.sleep(min(LONGEST_PAUSE, record.pop("retry_after")))  # the server asks for this pause
        finally:  # the record is written also when Locust kills this user
            RECORDS.write(json.dumps(record) + "\n")

    def _send(self, data: str, record: dict[str, Any], request: dict[str, Any]) -> None:
        with self.client.post(
            "/v1/chat/completions", data=data, name=request["name"], stream=True, catch_response=True,
            headers={"Content-Type": "application/json", "Accept-Encoding": "identity"},
        ) as response:  # fmt: skip
            try:
                if response.status_code == 200:
                    _read(response, record, request)
                else:
                    _refused(response, record)
            except Exception as error:  # noqa: BLE001 - whatever goes wrong is this request's failure
                record |= {"outcome": "failed", "error": f"{type(error).__name__}: {error}"[:200]}
            response.request_meta["response_time"] = 1000 * (time.perf_counter() - record["start"])
            if record["outcome"] == "failed":
                response.failure(record["error"])
            else:
                response.success()


def _body(idx: int, request: dict[str, Any]) -> str:
    """Join the JSON body from ready strings, so that no picture is encoded while others wait for an answer."""
    body = PLAN["bodies"][request["body"]].replace(PLAN["placeholder"], PLAN["images"][str(request["scene"])])
    return f'{{"cache_salt":"{PLAN["salt"]}{idx}",{body[1:]}' if PLAN["salt"] else body


def _quit_once(runner: Any) -> None:
    if not QUITTING:
        QUITTING.append(gevent.spawn(runner.quit))


def _read(response: Any, record: dict[str, Any], request: dict[str, Any]) -> None:
    if not request["stream"]:
        _keep(json.loads(response.content), record)
        record |= {"latency": time.perf_counter() - record["start"], "outcome": "finished", "error": ""}
        return
    record |= {"text": "", "itl": []}
    last, events_read, done = 0.0, 0, False
    while request["hang_up"] is None or events_read < request["hang_up"]:
        line = response.stream.readline(b"\n")
        if not line:
            break
        if not line.startswith(b"data: "):
            continue
        if line.strip() == b"data: [DONE]":
            done = True
            continue  # read to the end of the body, so that the connection can be used again
        now, event = time.perf_counter(), json.loads(line[6:])
        if "error" in event:
            raise RuntimeError(f"an error in the stream: {event['error']}")
        _keep(event, record)
        if event["choices"]:
            events_read += 1
            if last:
                record["itl"].append(now - last)
            else:
                record["ttft"] = now - record["start"]
            last = now
    record["latency"] = last - record["start"] if last else 0.0
    if request["hang_up"] is None and not done:
        raise RuntimeError("the stream ended before [DONE]")
    record |= {"outcome": "finished" if request["hang_up"] is None else "gave up", "error": ""}
    response.stream.release()  # the answer is not read to its end, so this closes the connection


def _keep(part: dict[str, Any], record: dict[str, Any]) -> None:
    """Keep the text, tokens and report of an answer, or of an event of a stream."""
    for choice in part.get("choices", ()):
        said = (choice.get("message") or choice.get("delta") or {}).get("content") or ""
        record["text"] = record.get("text", "") + said
    if part.get("usage"):
        record["tokens"] = part["usage"]["completion_tokens"]
    if part.get("eah") is not None:
        record["report"] = part["eah"]
    if part.get("verify") is not None:
        record["verify"] = part["verify"]


def _refused(response: Any, record: dict[str, Any]) -> None:
    if response.status_code == 0:
        raise response.error or RuntimeError("no answer")
    body = (response.content or b"")[:200].decode(errors="replace")
    if response.status_code == 503 and response.headers.get("retry-after"):
        after = str(response.headers["retry-after"])
        record |= {"outcome": "refused", "error": f"503, Retry-After: {after}"}
        record["retry_after"] = float(after) if after.isdecimal() else 1.0
    else:
        record |= {"outcome": "failed", "error": f"HTTP {response.status_code}: {body}"}
