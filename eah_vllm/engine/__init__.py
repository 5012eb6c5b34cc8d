"""Where vLLM calls us: the only room that imports vLLM."""
