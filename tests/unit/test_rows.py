"""Values for generated rows: whose rows they change and whose not, and that a CUDA graph could hold their program."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from tests.unit.row_methods_case import ASKED, LENGTHS, SHAPE, buffers, everything, followed, image_free_id, plan, step

CPU = torch.device("cpu")
ROWS = {name: 1 + sum(list(LENGTHS.values())[:idx]) for idx, name in enumerate(LENGTHS)}
"""The first row of each prompt in the step of all prompts."""


def unchanged(seed: int, count: int) -> dict[int, torch.Tensor]:
    """The attention outputs of a step as they were before."""
    return {layer: output.clone() for layer, output in step(followed(buffers(CPU)), seed, count, lambda m: m).items()}


@pytest.fixture(scope="module")
def on_cpu() -> Any:
    return everything(CPU, lambda matrix: matrix.clone())


def test_image_free_passes_change_nothing(on_cpu: Any) -> None:
    before = unchanged(0, len(on_cpu["passes"][0]))
    assert all(torch.equal(on_cpu["passes"][layer], before[layer]) for layer in before)


def test_only_last_rows_of_prompts_change(on_cpu: Any) -> None:
    before = unchanged(1, len(on_cpu["prompts"][0]))
    last = [ROWS[name] + LENGTHS[name] - 1 for name in ASKED]
    others = torch.ones(len(before[0]), dtype=torch.bool)
    others[last] = False
    for layer, output in on_cpu["prompts"].items():
        assert torch.equal(output[others], before[layer][others])
    changed = {name: [] for name in ASKED}  # type: dict[str, list[int]]
    for layer, output in on_cpu["prompts"].items():
        for name, row in zip(ASKED, last, strict=True):
            changed[name] += [] if torch.equal(output[row], before[layer][row]) else [layer]
    assert changed == {
        "vhr": [1, 3, 4, 5], "few heads": [1, 3], "random heads": [1, 3, 4, 5],
        "clva": [4, 5], "random direction": [4, 5], "both": [1, 4, 5],
    }  # fmt: skip


def test_generated_rows_get_what_the_last_row_chose(on_cpu: Any) -> None:
    """Factors of VHR by head, in each layer, and nothing for the plain request's row before them."""
    before, reports = unchanged(2, len(on_cpu["generated"][0])), on_cpu["reports"]
    for layer, output in on_cpu["generated"].items():
        assert torch.equal(output[0], before[layer][0])
        for row, name in enumerate(ASKED, 1):
            if "vhr" not in ASKED[name] or "clva" in ASKED[name]:
                continue
            of_layer = [one for one in reports[f"{name} vhr"]["layers"] if one["layer"] == layer]
            factors = torch.ones(SHAPE.num_heads)
            for one in of_layer:
                assert len(one["heads"]) == SHAPE.num_heads // 2
                factors[one["heads"]] = one["factor"]
            assert torch.equal(output[row], before[layer][row] * factors[:, None]), (layer, name)


def test_random_heads_are_others_in_each_layer(on_cpu: Any) -> None:
    drawn = [tuple(one["heads"]) for one in on_cpu["reports"]["random heads vhr"]["layers"]]
    assert len(set(drawn)) == len(drawn)
    lengths = {name: [one.get("norm") for one in on_cpu["reports"][f"{name} clva"]["layers"]] for name in ("clva",)}
    assert all(sum(length > 0 for length in norm) == SHAPE.num_heads // 2 for norm in lengths["clva"] if norm)


def test_one_traced_program_serves_other_contents_of_the_buffers() -> None:
    """As a CUDA graph would: it is recorded once, for nobody's rows, and replayed after the buffers have changed."""
    rows = buffers(CPU)
    seen = torch.randn(40, SHAPE.num_heads, 16)
    program = make_fx(lambda output: (rows.act_on(3, output), output)[1])(seen.clone())
    assert torch.equal(program(seen.clone()), seen), "nobody's rows are multiplied by 1, and get 0 added"
    intervention = followed(rows)
    names = list(ASKED)
    everybody = [(image_free_id(name), 0, 6) for name in names if "vhr" in ASKED[name]]
    intervention.set_plan(plan(intervention, *everybody))
    step(intervention, 0, 6 * len(everybody), lambda matrix: matrix)
    intervention.set_plan(plan(intervention, *((name, 0, LENGTHS[name]) for name in names)))
    step(intervention, 1, sum(LENGTHS.values()), lambda matrix: matrix)
    found = []
    for order in (names, names[::-1]):
        intervention.set_plan(plan(intervention, *((name, LENGTHS[name], 1) for name in order)))
        replayed, eager = program(seen.clone()), seen.clone()
        rows.act_on(3, eager)
        assert torch.equal(replayed, eager)
        assert torch.equal(replayed[len(names) :], seen[len(names) :]), "rows that fill up a graph are nobody's"
        found.append(replayed)
    assert not torch.equal(found[0], found[1])
    intervention.set_plan(plan(intervention, ("plain", 0, 5)))
    assert torch.equal(program(seen.clone()), seen)


def test_a_slot_forgets_its_request() -> None:
    """A later request has no part in what an earlier one chose, also in layers that it does not name."""
    intervention = followed(rows := buffers(CPU))
    passes = [(image_free_id(name), 0, 6) for name in ASKED if "vhr" in ASKED[name]]
    intervention.set_plan(plan(intervention, *passes))
    step(intervention, 0, 6 * len(passes), lambda matrix: matrix)
    intervention.set_plan(plan(intervention, ("vhr", 0, LENGTHS["vhr"])))
    step(intervention, 1, LENGTHS["vhr"], lambda matrix: matrix)
    chosen = rows._factor[4][1].clone()
    assert not torch.equal(chosen, torch.ones_like(chosen))
    intervention.set_plan(plan(intervention, ("vhr", LENGTHS["vhr"], 1)))
    assert torch.equal(rows._factor[4][1], chosen), "it keeps them while it generates"
    rows.begin_step([1], [1])
    assert torch.equal(rows._factor[4][1], torch.ones_like(chosen))


def test_without_its_image_free_pass_a_request_is_not_changed() -> None:
    intervention = followed(buffers(CPU))
    intervention.set_plan(plan(intervention, ("vhr", 0, LENGTHS["vhr"])))
    output = step(intervention, 1, LENGTHS["vhr"], lambda matrix: matrix.clone())
    before = unchanged(1, LENGTHS["vhr"])
    assert all(torch.equal(output[layer], before[layer]) for layer in before)
    assert intervention.collect(["vhr vhr"])["reports"]["vhr vhr"]["reason"] == "no_image_free_pass"


def test_where_graphs_run_a_last_row_alone_is_reported() -> None:
    intervention = followed(buffers(CPU))
    intervention.graphs = True
    intervention.set_plan(plan(intervention, (image_free_id("vhr"), 0, 6), ("clva", 0, LENGTHS["clva"])))
    step(intervention, 0, 6 + LENGTHS["clva"], lambda matrix: matrix)
    intervention.set_plan(plan(intervention, ("vhr", LENGTHS["vhr"] - 1, 1)))
    step(intervention, 1, 1, lambda matrix: matrix)
    reports = intervention.collect(["vhr vhr", "clva clva"])["reports"]
    assert reports["vhr vhr"]["reason"] == "last_row_alone"
    assert reports["clva clva"]["applied"]
