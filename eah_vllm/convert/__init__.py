"""Converts public checkpoints of models that vLLM lacks into LLaVA checkpoints, which vLLM and transformers load."""
