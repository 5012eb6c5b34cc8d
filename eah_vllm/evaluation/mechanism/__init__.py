"""Tests the paper's first claim on the built-in model: vision sinks in attention maps against hallucination."""
