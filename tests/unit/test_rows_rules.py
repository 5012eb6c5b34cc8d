"""The rules of VHR and CLVA, in the references, on numbers small enough to follow by hand."""

from __future__ import annotations

import pytest
import torch

from tests.clva_reference import CLVA, default_parts, sensitive_heads, turned
from tests.vhr_reference import default_layers, reinforced


def outputs_of_norm(*norms: float) -> torch.Tensor:
    return torch.tensor([[norm, 0.0] for norm in norms])


def test_half_of_the_heads_is_reinforced() -> None:
    nothing = torch.zeros(4, 2)
    assert reinforced(0, 2.0, outputs_of_norm(1, 4, 2, 3), nothing, torch.ones(4)).heads == (1, 3)
    assert reinforced(0, 2.0, outputs_of_norm(1, 4, 2), nothing[:3], torch.ones(3)).heads == (1,)
    assert reinforced(0, 2.0, outputs_of_norm(2, 2, 2, 2), nothing, torch.ones(4)).heads == ()


def test_an_outlier_is_far_and_loud() -> None:
    """Heads 0 to 4 lie at 1 to 5 from their outputs without the image, head 5 at 20."""
    quiet, loud = outputs_of_norm(1, 1, 1, 1, 1, 1), outputs_of_norm(1, 1, 1, 1, 1, 9)
    away = outputs_of_norm(1, 2, 3, 4, 5, 20).roll(1, dims=1)
    for without, heads, score in ((quiet, (3, 4, 5), 20.0), (loud, (2, 3, 4), 0.0)):
        found = reinforced(0, 2.0, without + away, without, torch.ones(6))
        assert found.divergence == pytest.approx((1, 2, 3, 4, 5, 20))
        assert (found.heads, found.score[5]) == (heads, pytest.approx(score))
    nearly = outputs_of_norm(1, 1, 2, 2.05).roll(1, dims=1)  # 1.5125 + 0.592, or + 0.513 if divided by four
    assert reinforced(0, 2.0, loud[2:] + nearly, loud[2:], torch.ones(4)).heads == (2, 3)
    loud_elsewhere = outputs_of_norm(9, 1, 1, 1, 1, 1)
    assert reinforced(0, 2.0, loud_elsewhere + away, loud_elsewhere, torch.ones(6)).heads == (3, 4, 5)


def test_turned_attention_keeps_its_sum() -> None:
    own, positive, negative = (
        torch.tensor([0.1, 0.3, 0.0]),
        torch.tensor([0.5, 0.5, 0.0]),
        torch.tensor([0.0, 1.0, 0.0]),
    )
    drawn = turned(own, positive, negative, alpha=1.0, beta=0.5)  # 0.1 + 0.2, 0.3 + 0.2 - 0.2, 0: then 0.4 in all
    torch.testing.assert_close(drawn, torch.tensor([0.2, 0.2, 0.0]))
    driven_off = turned(own, positive, negative, alpha=0.0, beta=1.0)  # 0.3 - 0.4 is less than nothing
    torch.testing.assert_close(driven_off, torch.tensor([0.4, 0.0, 0.0]))


def test_sensitive_heads_are_the_lower_ones_among_equals() -> None:
    assert sensitive_heads([0.2, 0.5, 0.2, 0.2]) == [0, 1]
    assert sensitive_heads([0.1, 0.2, 0.3]) == [2]


def test_anchors_are_means_of_middle_and_early_layers() -> None:
    """Two heads that see two image tokens and a text token, whose values are such that one reads the vectors off."""
    value = torch.tensor([[1.0, 0.0], [0.0, 1.0], [5.0, 5.0]]).expand(2, 3, 2)
    rows = [
        [[0.4, 0.4, 0.2], [0.3, 0.1, 0.6]],  # early: the head with less on the image, 0.75 and 0.25 of it
        [[0.1, 0.1, 0.8], [0.6, 0.2, 0.2]],  # middle: the head with more, 0.75 and 0.25
        [[0.2, 0.6, 0.2], [0.1, 0.1, 0.8]],  # middle: the head with more, 0.25 and 0.75
        [[0.4, 0.1, 0.5], [0.1, 0.1, 0.8]],  # deep: the first head, 0.4 - 0.25 and 0.1 + 0, then 0.5 in all
    ]
    method = CLVA(alpha=0.5, beta=1.0, early=(0,), middle=(1, 2), deep=(3,))
    for layer, row in enumerate(rows):
        _, shift = method.at_last_row(layer, torch.tensor(row), torch.zeros(2, 2), value, [0, 1])
        if layer < 3:
            assert not shift.any()
    torch.testing.assert_close(shift, torch.tensor([[-0.1, 0.1], [0.0, 0.0]]))


def test_the_vectors_are_what_the_turned_attention_would_have_added() -> None:
    generator = torch.Generator().manual_seed(0)
    method = CLVA(3.0, 2.0, (0,), (1,), (2,))
    for layer in range(3):
        maps = torch.softmax(2 * torch.randn(4, 9, generator=generator), dim=-1)
        value = torch.randn(4, 9, 5, generator=generator)
        output = (maps[:, None] @ value)[:, 0]
        _, shift = method.at_last_row(layer, maps, output, value, [2, 3, 4, 6])
    redirected = method.report[-1].redirected
    assert redirected is not None
    turned_maps = maps.clone()
    turned_maps[:, [2, 3, 4, 6]] = redirected
    assert float((turned_maps - maps).abs().max()) > 0.01
    torch.testing.assert_close(output + shift, (turned_maps[:, None] @ value)[:, 0])


def test_default_layers_follow_the_depth() -> None:
    assert default_layers(32) == (1, *range(18, 32))
    assert default_layers(6) == (1, 3, 4, 5)
    assert default_layers(3) == (1, 2)
    assert default_parts(32) == {"early": (0, 1, 2), "middle": tuple(range(10, 20)), "deep": tuple(range(20, 32))}
    assert default_parts(3) == {"early": (0,), "middle": (1,), "deep": (2,)}
