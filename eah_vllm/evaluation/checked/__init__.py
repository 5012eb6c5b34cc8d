"""What checking captions is worth: P(yes) against the truth, a threshold, and controls for what is removed."""
