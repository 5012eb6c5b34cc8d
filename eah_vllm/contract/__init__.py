"""What we use of vLLM, compared with what is installed; reads vLLM's source and imports nothing of it."""
