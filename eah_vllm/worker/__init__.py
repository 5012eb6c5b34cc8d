"""What one worker process remembers of its requests. Imports `method`, `reuse` and plain data, never vLLM."""
