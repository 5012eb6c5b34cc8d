"""What is remembered of a cached prefix, on both sides, and when it is forgotten."""

import torch

from eah_vllm.reuse.prefix_records import PrefixRecords, prefix_key
from eah_vllm.reuse.recorded_heads import RecordedHeads


def test_a_prefix_keeps_its_record_until_it_is_forgotten() -> None:
    records = PrefixRecords(max_records=2)
    first, second = records.record_of("a"), records.record_of("b")
    assert first != second
    assert records.record_of("a") == first
    records.record_of("c")  # makes room by forgetting b, not a
    assert records.record_of("a") == first
    assert records.record_of("b") != second
    records.clear()
    assert records.record_of("a") != first


def test_everything_that_changes_kv_changes_the_key() -> None:
    same = ("settings", "salt", "lora", [1, 2, 3], ["image"])
    others = [
        ("other", "salt", "lora", [1, 2, 3], ["image"]),
        ("settings", "other", "lora", [1, 2, 3], ["image"]),
        ("settings", "salt", "other", [1, 2, 3], ["image"]),
        ("settings", "salt", "lora", [1, 2, 4], ["image"]),
        ("settings", "salt", "lora", [1, 2, 3], ["other"]),
        ("settings", "saltlora", "", [1, 2, 3], ["image"]),
    ]
    keys = [prefix_key(*same)] + [prefix_key(*other) for other in others]
    assert len(set(keys)) == len(keys)
    assert prefix_key(*same) == keys[0]


def test_heads_are_kept_by_record_and_layer() -> None:
    heads = RecordedHeads(max_records=2)
    heads.put("a", 0, torch.tensor(1))
    heads.put("a", 2, torch.tensor(2))
    heads.put("b", 0, torch.tensor(3))
    assert heads.get("a", 2) == 2
    assert heads.get("a", 1) is None
    heads.put("c", 0, torch.tensor(4))  # makes room by forgetting b, not a
    assert heads.get("b", 0) is None
    assert heads.get("a", 0) == 1


def test_without_a_record_nothing_is_kept() -> None:
    heads = RecordedHeads()
    heads.put(None, 0, torch.tensor(1))
    assert heads.get(None, 0) is None
