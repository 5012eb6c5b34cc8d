"""Turns answers into figures with intervals."""
