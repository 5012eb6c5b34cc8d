"""Checks what an answer says against its pictures; the text half imports no vLLM and no web framework."""
