"""What each step computes: of plain requests what stock vLLM does, of an EAH prompt all or nothing; nobody starves.

A real scheduler of stock vLLM and one of ours get the same traces: long prompts, pictures, prompts that begin alike,
and a KV cache that is too small for all.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.engine.schedules import Case, Schedule, Wanted, schedules

STEP = 256
"""Tokens of a step."""
RUNNING = 16
"""Requests that can run."""
EAH = {"eah": 1}
ENGINES: dict[str, dict[str, Any]] = {
    "plenty": {},
    "tight": {"blocks": 60},
    "run_ahead": {"run_ahead": True},
    "tight_run_ahead": {"blocks": 60, "run_ahead": True},
    "threshold": {"options": {"long_prefill_token_threshold": 64}},
    "adaptive": {"options": {"long_prefill_token_threshold": 24, "long_prefill_token_threshold_adaptive": True}},
    "threshold_run_ahead": {"options": {"long_prefill_token_threshold": 48}, "run_ahead": True, "blocks": 60},
    "never_split": {"options": {"enable_chunked_prefill": False, "max_num_batched_tokens": 1024}},
    "fewer_scheduled": {"options": {"max_num_scheduled_tokens": 200}},
    "prefix_reuse": {"options": {"additional_config": {"eah": {"prefix_reuse": True}}}, "blocks": 60},
}
SEEDS = range(6)


def make_trace(seed: int) -> list[Wanted]:
    rng = random.Random(seed)
    requests, now = [], 0
    for idx in range(14):
        now += rng.choice((0, 0, 1, 3))
        prompt = rng.choice((40, 90, 180, 250, 700, rng.randrange(30, 256)))
        picture = rng.randrange(4)
        has_picture = prompt < STEP and rng.random() < 0.7
        requests.append(
            Wanted(
                f"{idx:02}",
                now,
                prompt,
                [(5, 16, f"picture {picture}")] if has_picture else [],
                rng.choice((2, 10, 90)),
                kind=picture,
            )
        )
    return requests


def make_case(
    requests: Sequence[Wanted], blocks: int = 1000, options: dict[str, Any] | None = None, **more: Any
) -> Case:
    return Case(requests, {"max_num_batched_tokens": STEP, "max_num_seqs": RUNNING} | (options or {}), blocks, **more)


def with_eah(requests: Sequence[Wanted], every: int = 2) -> list[Wanted]:
    return [
        dataclasses.replace(wanted, extra_args=EAH) if wanted.pictures and idx % every == 0 else wanted
        for idx, wanted in enumerate(requests)
    ]


PLAIN = {f"{name}-{seed}": make_case(make_trace(seed), **engine) for name, engine in ENGINES.items() for seed in SEEDS}
MIXED = {f"mixed-{name}": dataclasses.replace(case, requests=with_eah(case.requests)) for name, case in PLAIN.items()}
NEVER_WHOLE = [Wanted("long", 0, 700, [(5, 16, "a")]), Wanted("two", 1, 300, [(5, 16, "a"), (240, 16, "b")], kind=1)]
LATE = Wanted("late", 0, 200, [(170, 25, "late")])
SPECIAL = {
    "text": make_case([Wanted("first", 0, 200), Wanted("again", 3, 200, answer=2)]),
    "text-eah": make_case([Wanted("first", 0, 200), Wanted("again", 3, 200, answer=2, extra_args=EAH)]),
    "long": make_case(NEVER_WHOLE),
    "long-eah": make_case([dataclasses.replace(wanted, extra_args=EAH) for wanted in NEVER_WHOLE]),
    "picture": make_case([Wanted("other", 0, 250), Wanted("keyed", 0, 200, [(5, 16, "a")], kind=1)]),
    "picture-keyed": make_case(
        [
            Wanted("other", 0, 250),
            Wanted("keyed", 0, 200, [(5, 16, "a")], kind=1,
                   extra_args={"eah/order": "mine", "theirs": 1}),
        ]
    ),
    "full-step": make_case(
        [Wanted("plain", 0, 30, answer=60), Wanted("eah", 2, STEP, [(5, 16, "a")], extra_args=EAH),
         Wanted("younger", 3, 20, kind=1)]
    ),
    "session": make_case(
        [dataclasses.replace(LATE, extra_args=EAH)], held_embeddings=STEP - 8, held_until=12
    ),
    "session-reuse": make_case(
        [Wanted("before", 0, 200, LATE.pictures, extra_args=EAH),
         dataclasses.replace(LATE, arrives=20, extra_args=EAH)],
        options={"additional_config": {"eah": {"prefix_reuse": True}}},
        held_embeddings=STEP, held_from=15, held_until=60,
    ),
}  # fmt: skip
WIDE = {
    "wide": Case([Wanted("one", 0, 5000)], {"max_model_len": 32768, "max_num_seqs": 8}),
    "operator": make_case([Wanted("one", 0, 50)], options={"long_prefill_token_threshold": 100, "max_num_seqs": 3}),
}


def run_cases(checkpoint: Path, cases: dict[str, Case], *, plugin: bool) -> dict[str, Schedule]:
    return dict(zip(cases, schedules(checkpoint, list(cases.values()), plugin=plugin), strict=True))


@pytest.fixture(scope="module")
def ours(long_checkpoint: Path) -> dict[str, Schedule]:
    return run_cases(long_checkpoint, PLAIN | MIXED | SPECIAL | WIDE, plugin=True)


@pytest.fixture(scope="module")
def stock(long_checkpoint: Path) -> dict[str, Schedule]:
    return run_cases(long_checkpoint, PLAIN | WIDE, plugin=False)


def chunks(schedule: Schedule, name: str) -> list[tuple[int, int, int]]:
    """Step, tokens known before it, tokens in it: wherever a request starts, or starts again."""
    found = []
    for idx, step in enumerate(schedule.steps):
        computed = {cached[0]: cached[1] for cached in step["cached"]}
        if name in step["new"]:
            found.append((idx, step["new"][name][0], step["tokens"][name]))
        elif name in step["resumed"]:
            found.append((idx, computed[name], step["tokens"][name]))
    return found


def prompts_in_parts(case: Case, schedule: Schedule) -> int:
    prompts = {wanted.name: wanted.prompt for wanted in case.requests}
    return sum(
        any(computed + tokens < length for _, computed, tokens in chunks(schedule, name))
        for name, length in prompts.items()
    )


def test_the_traces_have_what_they_should(stock: dict[str, Schedule]) -> None:
    for name, engine in ENGINES.items():
        mine = {case: stock[case] for case in PLAIN if case.startswith(f"{name}-") and case in stock}
        preempted = sum(schedule.preemptions for schedule in mine.values())
        split = sum(prompts_in_parts(PLAIN[case], schedule) for case, schedule in mine.items())
        assert (preempted > 0) == ("blocks" in engine), name
        assert (split > 0) == (name != "never_split"), name
        assert any(step["encoder"] for schedule in mine.values() for step in schedule.steps)
        assert any(
            start > 0 for schedule in mine.values() for step in schedule.steps for start, _ in step["new"].values()
        )


@pytest.mark.parametrize("name", [*PLAIN, *WIDE])
def test_plain_requests_are_scheduled_as_by_stock_vllm(
    ours: dict[str, Schedule], stock: dict[str, Schedule], name: str
) -> None:
    assert ours[name].config == stock[name].config
    assert ours[name].steps == stock[name].steps


def test_a_long_context_needs_no_larger_steps(ours: dict[str, Schedule]) -> None:
    assert ours["wide"].config["max_num_batched_tokens"] == 2048  # vLLM's for a server on a CPU
    assert ours["wide"].config["enable_chunked_prefill"]


def reason_of(schedule: Schedule, name: str) -> str | None:
    """Why the scheduler says that a request which asks for EAH is answered without it."""
    extra_args = schedule.extra_args[name]
    assert set(extra_args) == {"eah", "eah/order"}
    (order,) = extra_args["eah/order"]
    reason: str | None = order["reason"]
    return reason


@pytest.mark.parametrize("name", MIXED)
def test_eah_prompts_are_whole_and_all_are_answered(ours: dict[str, Schedule], name: str) -> None:
    finished = {request for step in ours[name].steps for request in step["finished"]}
    config = ours[name].config
    limit = config["max_num_scheduled_tokens"] or config["max_num_batched_tokens"]
    for wanted in MIXED[name].requests:
        if wanted.extra_args is not None and wanted.prompt <= limit:
            started = chunks(ours[name], wanted.name)
            assert started
            assert all(computed + tokens >= wanted.prompt for _, computed, tokens in started), (wanted, started)
            assert reason_of(ours[name], wanted.name) is None
        assert wanted.name in finished


def test_some_eah_prompts_had_to_wait(ours: dict[str, Schedule]) -> None:
    """Or the test above would prove little: stock vLLM splits some of these prompts, and some are preempted."""
    eah = {name: [w for w in case.requests if w.extra_args] for name, case in MIXED.items()}
    plain = {name: ours[name.removeprefix("mixed-")] for name in MIXED}
    assert any(
        computed + tokens < wanted.prompt
        for name, requests in eah.items()
        for wanted in requests
        for _, computed, tokens in chunks(plain[name], wanted.name)
    )
    assert any(len(chunks(ours[name], wanted.name)) > 1 for name, requests in eah.items() for wanted in requests)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("engine", ["plenty", "run_ahead"])
def test_the_wait_is_bounded(ours: dict[str, Schedule], engine: str, seed: int) -> None:
    """From the front of the queue on: the steps that the prompts under way need, and where the prompt leaves no room
    for a token of each request that can run, those of the longest answer under way (docs/decisions/0014)."""
    name = f"mixed-{engine}-{seed}"
    case, steps = MIXED[name], ours[name].steps
    late = 1 if engine == "run_ahead" else 0
    for wanted in (w for w in case.requests if w.extra_args):
        waits = [idx for idx, step in enumerate(steps) if step["waiting"][:1] == [wanted.name]]
        if not waits:
            continue
        first, started = waits[0], ours[name].first_step_of(wanted.name)
        done = {w.name: sum(step["tokens"].get(w.name, 0) for step in steps[:first]) for w in case.requests}
        running = [w for w in case.requests if w.name in steps[first]["running"]]
        prompts = sum(max(w.prompt - done[w.name], 0) for w in running)
        bound = math.ceil(prompts / (STEP - RUNNING)) + late
        if wanted.prompt > STEP - RUNNING:
            bound += max(w.answer - max(done[w.name] - w.prompt, 0) for w in running)
        assert started - first <= bound, (wanted, first, started, bound)


def test_a_prompt_that_fills_a_step_waits_for_answers_and_is_passed_by_nobody(ours: dict[str, Schedule]) -> None:
    schedule = ours["full-step"]
    plain_ends = max(idx for idx, step in enumerate(schedule.steps) if "plain" in step["tokens"])
    assert schedule.first_step_of("eah") == plain_ends + 1
    assert schedule.steps[plain_ends + 1]["tokens"] == {"eah": STEP}
    assert schedule.first_step_of("younger") == plain_ends + 2


@pytest.mark.parametrize("name", ["text", "long"])
def test_what_eah_cannot_change_is_a_plain_request(ours: dict[str, Schedule], name: str) -> None:
    """Also for the prefix cache: the steps name the blocks, and how much of a prompt was read."""
    assert ours[f"{name}-eah"].steps == ours[name].steps
    schedule = ours[f"{name}-eah"]
    said = None if name == "text" else "prompt_split"
    assert all(reason_of(schedule, asked) == said for asked, got in schedule.extra_args.items() if got)
    if name == "text":
        (again,) = [step["new"]["again"] for step in ours["text-eah"].steps if "again" in step["new"]]
        assert again[0] > 0, "nothing was read from the prefix cache"


def test_private_fields_of_a_caller_are_removed(ours: dict[str, Schedule]) -> None:
    assert ours["picture-keyed"].extra_args["keyed"] == {"theirs": 1}
    assert ours["picture-keyed"].steps == ours["picture"].steps


def test_a_prompt_waits_for_no_one_who_does_not_run(ours: dict[str, Schedule]) -> None:
    """The encoder's cache is full, and nothing runs whose end would empty it: the prompt is computed in parts."""
    schedule = ours["session"]
    assert schedule.steps[0]["tokens"] == {}
    assert schedule.steps[1]["tokens"] == {"late": LATE.pictures[0][0]}
    assert reason_of(schedule, "late") == "prompt_split"
    assert "late" in schedule.steps[-1]["finished"]


def test_such_a_prompt_leaves_the_blocks_of_its_record_alone(ours: dict[str, Schedule]) -> None:
    """They hold keys and values that EAH has changed, and what it computes itself does not."""
    schedule = ours["session-reuse"]
    assert chunks(schedule, "before")[0][2] == 200, "the first one was not whole"
    assert chunks(schedule, "late")[0][1] == 0
    assert reason_of(schedule, "late") == "prompt_split"
