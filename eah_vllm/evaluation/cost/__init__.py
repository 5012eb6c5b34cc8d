"""What a setting costs: time per generated token, and time to the first one."""
