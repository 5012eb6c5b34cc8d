"""What one worker process remembers about its requests. It imports `method`, `reuse` and plain data, never vLLM."""
