"""Writes the figures as one HTML page with plots."""
