"""Load tests: how fast a server answers, and whether its answers under load are right."""
