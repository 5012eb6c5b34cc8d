"""Brings numbers from the device to the host without a wait."""

import torch
from torch import Tensor


def on_host(numbers: Tensor) -> tuple[Tensor, torch.Event | None]:
    """Start the copy of the numbers that reports and counts will read; without an event there is nothing to wait for.

    The copy is read when a report is collected; waiting for it here would stall the step.
    """
    if numbers.device.type == "cpu":
        return numbers, None
    copy = torch.empty_like(numbers, device="cpu", pin_memory=True)
    copy.copy_(numbers, non_blocking=True)
    copied = torch.Event(numbers.device)
    copied.record()
    return copy, copied
