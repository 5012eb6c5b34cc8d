"""Asks a server every question, and keeps the answers."""
