"""From answers to figures with intervals."""
