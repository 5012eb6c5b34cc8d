"""Compares what we use of vLLM with the vLLM that is installed; it reads vLLM's source and imports nothing of it."""
