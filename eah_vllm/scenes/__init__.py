"""The built-in model and the world it captions."""
