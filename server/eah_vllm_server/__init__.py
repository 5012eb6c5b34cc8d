"""HTTP layer: vLLM's own OpenAI-compatible server, extended by its endpoint-plugin seam."""
