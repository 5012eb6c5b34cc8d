"""Searches for the best setting, and tunes captions that end sooner."""
