"""A scenario as its file describes it: the traffic, the objective, and the bounds that must hold."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

FOLDER = Path(__file__).parent / "scenarios"
MOST_PER_SECOND = 100
"""Requests per second that are planned for a run that only its time ends."""


class ScenarioError(ValueError):
    """A file cannot be read as a scenario; the message names it and the field."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Serve(_Strict):
    """The server that is started for the scenario; scenarios with equal fields here share one server."""

    kind: Literal["eah", "stock"] = "eah"
    """`eah` for `eah-vllm serve`; `stock` for vLLM's own serve command, without this plugin."""
    arguments: tuple[str, ...] = ()
    """Further options of `vllm serve`."""
    env: Mapping[str, str] = Field(default_factory=dict)


class Traffic(_Strict):
    """The requests that are sent: greedy captions of unseen scenes; every run is bounded in number and time."""

    mix: Literal["off", "on", "half"]
    """Which requests ask for EAH."""
    way: Literal["field", "alias", "xargs", "each"] = "field"
    """How they ask for EAH; `each` means all three ways in turn."""
    requests: int = Field(gt=0, le=200_000)
    """Most requests of a run, or of each step of a sweep."""
    seconds: float = Field(gt=0, le=14_400)
    """Seconds after which no request is begun, in a run or in each step of a sweep."""
    users: int = Field(default=0, ge=0, le=1_000)
    """Closed loop: the number of users, each of which sends its next request when the last one is answered."""
    rates: tuple[float, ...] = ()
    """Open loop: requests per second that arrive whatever the server does, one rate for each step."""
    images: int = Field(gt=0, le=400)
    """Number of scenes; requests take them in turn."""
    questions: float = Field(default=0, ge=0, le=1)
    """Share of requests that ask for one yes or no instead of a caption (Locust only)."""
    whole: float = Field(default=0, ge=0, le=1)
    """Share of answers that are not streamed (Locust only)."""
    hang_ups: float = Field(default=0, ge=0, le=1)
    """Share of requests whose client goes away before the answer is complete (Locust only)."""
    verified: float = Field(default=0, ge=0, le=1)
    """Share of captions that are checked: with `report` where they are streamed, else with `rewrite` (Locust only)."""
    fresh: bool = True
    """Whether each request has a `cache_salt` of its own, so that no prompt is found in the prefix cache."""

    @model_validator(mode="after")
    def _one_loop(self) -> Traffic:
        if bool(self.users) == bool(self.rates):
            raise ValueError("give one of users (closed loop) and rates (open loop)")
        return self


class Objective(_Strict):
    """The times in milliseconds that an answer must keep to count as goodput."""

    ttft_ms: float = Field(gt=0)
    tpot_ms: float = Field(gt=0)


class Bound(_Strict):
    """A bound on one figure of the result."""

    at_most: float | None = None
    at_least: float | None = None
    builtin_only: bool = False
    """Whether the bound holds only for the built-in model; it is left out when another model is asked."""
    quiet_only: bool = False
    """Whether it bounds a time; it is left out where other processes kept the machine busy and so decided the time."""

    def holds(self, value: float | None) -> bool:
        """Whether a figure keeps to the bound; a figure that was not measured does not."""
        if value is None:
            return False
        return (self.at_most is None or value <= self.at_most) and (self.at_least is None or value >= self.at_least)

    def __str__(self) -> str:
        said = [("at least", self.at_least), ("at most", self.at_most)]
        return " and ".join(f"{word} {bound:g}" for word, bound in said if bound is not None)


class Scenario(_Strict):
    """One file of `scenarios/`."""

    name: str
    title: str
    tool: Literal["vllm-bench", "locust"]
    small_set: bool = False
    """Whether the scenario runs when none is named."""
    serve: Serve = Serve()
    traffic: Traffic
    objective: Objective
    thresholds: Mapping[str, Bound]

    @model_validator(mode="after")
    def _tool_can(self) -> Scenario:
        traffic = self.traffic
        if self.tool == "locust" and traffic.rates:
            raise ValueError("rates: Locust drives closed loops here; use vllm-bench")
        if self.tool == "vllm-bench" and (traffic.questions or traffic.whole or traffic.hang_ups or traffic.verified):
            raise ValueError("questions, whole, hang_ups and verified need locust")
        if self.tool == "vllm-bench" and traffic.way in ("alias", "each"):
            raise ValueError("way: the alias is another model name, and vllm-bench sends one; use locust")
        if self.serve.kind == "stock" and (traffic.mix != "off" or traffic.verified):
            raise ValueError("mix, verified: stock vLLM knows neither EAH nor verify")
        return self

    def scaled(self, count: float, seconds: float) -> Scenario:
        """Return the scenario with its bounds on number and time scaled."""
        bounds = {
            "requests": max(1, round(self.traffic.requests * count)),
            "seconds": self.traffic.seconds * seconds,
        }
        return self.model_copy(update={"traffic": self.traffic.model_copy(update=bounds)})

    def for_minutes(self, minutes: float) -> Scenario:
        """Return the scenario with this length in minutes, however many requests that takes.

        Raises:
            ScenarioError: the tool can only send a fixed number of requests.
        """
        if self.tool != "locust":
            raise ScenarioError(f"{self.name}: only scenarios that Locust drives can be run for minutes; use --count")
        bounds = {
            "requests": max(self.traffic.requests, round(MOST_PER_SECOND * 60 * minutes)),
            "seconds": 60 * minutes,
        }
        return self.model_copy(update={"traffic": self.traffic.model_copy(update=bounds)})


def read(path: Path) -> Scenario:
    """Read a scenario from its file.

    Raises:
        ScenarioError: a field is missing, unknown or impossible.
    """
    try:
        return Scenario.model_validate({"name": path.stem} | yaml.safe_load(path.read_text()))
    except (ValidationError, yaml.YAMLError, TypeError) as error:
        raise ScenarioError(f"{path}: {error}") from error


def shipped() -> dict[str, Scenario]:
    """Return all shipped scenarios by name."""
    return {path.stem: read(path) for path in sorted(FOLDER.glob("*.yaml"))}
