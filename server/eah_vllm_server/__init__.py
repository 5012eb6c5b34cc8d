"""The HTTP layer: vLLM's own OpenAI-compatible server, extended through its endpoint-plugin interface."""
