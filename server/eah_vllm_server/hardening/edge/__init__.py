"""Middleware around vLLM's app: answer headers, API keys, the limit on bodies, slow clients."""
