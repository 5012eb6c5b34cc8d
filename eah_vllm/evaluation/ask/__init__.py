"""Asks a server every question of a task, and keeps the answers."""
