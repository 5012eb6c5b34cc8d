"""Measures hallucination through any OpenAI-compatible server, with EAH off and on, and with controls."""
