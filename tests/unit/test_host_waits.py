"""On a GPU the host never waits for a layer's EAH, and starts equally much for one prompt and for many (decision 0011).

A pretended GPU shows it, which refuses what would wait; there the results are those of each prompt alone.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch

from eah_vllm.method.draws import random_number
from eah_vllm.method.eah import columns_of
from tests.unit.gpu_path_case import COUNTS, HEADS, LAYERS, alone, prompts
from tests.unit.row_methods_case import everything
from tests.unit.test_triton_kernels import child
from tests.unit.wait_cases import WAITS

MOST_LAUNCHES = 30
"""Of counting sinks and choosing heads, in one layer."""


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the pretended GPU found; if anything had waited, it would have raised."""
    return child("gpu_path_case", tmp_path_factory.mktemp("gpu") / "result", TRITON_INTERPRET="1")


def chosen_alone(received: torch.Tensor, idx: int, layer: int) -> list[int]:
    """Source head, its sinks, most sinks, broadcast or not: of one prompt, by the definition of its options."""
    (part,) = parts = prompts(idx + 1).parts[idx:]
    settings: Any = part.state.settings
    (columns,) = columns_of(alone(parts[0]))
    threshold, counts = torch.tensor(settings.sink_threshold(part.num_rows)), []
    for head in range(HEADS):
        counts.append(0)
        for attention, column in zip(received[head], columns, strict=True):
            divisor = (settings.divisor or part.num_rows - 1) - column
            counts[-1] += bool(divisor > 0 and attention / divisor > threshold)
    most = max(counts)
    if isinstance(settings.head, int):
        return [settings.head, counts[settings.head], most, 1]
    if settings.head == "random":
        head = random_number(settings.seed, layer, part.state.pictures) % HEADS
        return [head, counts[head], most, most > 0]
    if settings.head == "sparsest":
        head = counts.index(min(counts))
        return [head, counts[head], most, most > 0]
    head = counts.index(most)
    dense = torch.tensor(most, dtype=torch.float32) >= settings.min_density * part.state.image_tokens
    return [head, most, most, most > 0 and bool(dense) and (head > 0 or settings.head_zero_wins)]


@pytest.mark.parametrize("count", COUNTS)
@pytest.mark.parametrize("layer", LAYERS)
def test_all_prompts_at_once_are_what_each_is_alone(count: int, layer: int, result: Any) -> None:
    found, one_by_one = result[f"{count}"], result["alone"]
    expected = [chosen_alone(one_by_one["received"][layer, idx], idx, layer) for idx in range(count)]
    assert found["choices"][layer].tolist() == expected
    foreign = torch.ones(len(found["output"][layer]), dtype=torch.bool)
    for idx, part in enumerate(prompts(count).parts):
        assert torch.equal(found["output"][layer][part.rows], one_by_one["rows"][layer, idx])
        assert bool((found["output"][layer][part.rows] != 7.0).any()) == bool(expected[idx][3])
        foreign[part.rows] = False
    assert found["output"][layer][foreign].eq(7.0).all()


def test_the_prompts_are_of_many_kinds(result: Any) -> None:
    """Or a mix-up of prompts, heads and layers would not be seen."""
    first, second = (result[f"{COUNTS[-1]}"]["choices"][layer] for layer in LAYERS)
    for choices in (first, second):
        assert set(choices[:, 0].tolist()) == set(range(HEADS))
        assert 5 < choices[:, 3].sum() < len(choices) - 5
        assert len(set(choices[:, 2].tolist())) > 10
    assert not torch.equal(first, second)
    reports = result[f"{COUNTS[-1]}"]["reports"]
    assert {report["reason"] for report in reports} >= {None, "no_sink", "below_min_density"}


@pytest.mark.parametrize("count", COUNTS[:2])
def test_two_ranks_choose_what_one_chooses(count: int, result: Any) -> None:
    found, expected = result[f"{count} on ranks"], result[f"{count}"]
    for choices in found["choices"]:
        assert torch.equal(choices, expected["choices"][LAYERS[0]])
    torch.testing.assert_close(found["output"], expected["output"][LAYERS[0]], atol=2e-5, rtol=2e-5)


def test_launches_do_not_grow_with_the_number_of_prompts(result: Any) -> None:
    for layer in LAYERS:
        chosen = [sum(result[f"{count}"]["chosen"][layer].values()) for count in COUNTS]
        launched = [sum(result[f"{count}"]["launched"][layer].values()) for count in COUNTS]
        assert max(chosen) <= MOST_LAUNCHES
        assert launched[1] == launched[2]
        assert max(launched) <= MOST_LAUNCHES, "also with the broadcast and the copy for reports"
    one, eight = (result[f"{count} on ranks"]["launched"] for count in COUNTS[:2])
    assert sum(eight[0].values()) - sum(one[0].values()) <= 2, "a step of one prompt needs fewer copies"


def test_the_pretended_gpu_sees_every_wait(result: Any) -> None:
    assert result["waits seen"] == dict.fromkeys(WAITS, True)


def test_methods_of_generated_rows_do_not_wait_and_find_the_same(result: Any) -> None:
    expected = everything(torch.device("cpu"), lambda matrix: matrix.clone())
    for step in ("passes", "prompts", "generated"):
        for layer, output in expected[step].items():
            torch.testing.assert_close(result["rows"][step][layer], output, atol=2e-5, rtol=2e-5)
    for tag, report in expected["reports"].items():
        assert report["applied"], tag
        for there, here in zip(result["rows"]["reports"][tag]["layers"], report["layers"], strict=True):
            numbers = {name for name, value in here.items() if isinstance(value, float | list)}
            assert {n: there[n] for n in here.keys() - numbers} == {n: here[n] for n in here.keys() - numbers}
            assert all(there[n] == pytest.approx(here[n], rel=1e-4, abs=1e-5) for n in numbers)
