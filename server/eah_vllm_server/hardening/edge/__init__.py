"""Around vLLM's app: limits, keys, the queue, slow clients, the end of the server."""
