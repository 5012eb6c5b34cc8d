"""The aliases of a name: every method, a check, and what of them fits together."""

from __future__ import annotations

from eah_vllm_server.names import modes_of_aliases


def test_smaller_sets_come_first_and_methods_that_do_not_fit_are_left_out() -> None:
    asked: list[tuple[str, ...]] = []

    def fit(methods: tuple[str, ...]) -> bool:
        asked.append(methods)
        return "c" not in methods

    found = ["+".join(modes) for modes in modes_of_aliases(["a", "b", "c"], fit)]
    singles, pairs = ["a", "b", "c", "verify"], ["a+b", "a+verify", "b+verify", "c+verify"]
    assert found == [*singles, *pairs, "a+b+verify"]
    assert all(len(methods) > 1 for methods in asked), "a method alone has an alias on any model"


def test_a_server_without_methods_has_the_check_alone() -> None:
    assert modes_of_aliases([], lambda methods: True) == (("verify",),)
