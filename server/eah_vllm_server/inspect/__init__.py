"""`POST /v1/eah/inspect`: what every layer and head sees of a prompt's pictures, in one pass."""
