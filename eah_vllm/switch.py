"""The switch `EAH_DISABLE=1`, with which the plugin is installed and does nothing."""

import os


def is_disabled() -> bool:
    """Whether `EAH_DISABLE=1` switches the plugin off."""
    return os.environ.get("EAH_DISABLE", "0") == "1"
