"""What checkpoints with remote code bring along, written for the tests from the public layouts."""
