"""The tasks: one file for each, and what it needs to know about its pictures."""
