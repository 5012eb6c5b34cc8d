"""The paper's first claim on the built-in model: sinks in its attention maps against hallucination."""
