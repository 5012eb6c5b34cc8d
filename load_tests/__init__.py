"""Load tests of hallucination-safe captioning: how fast a server answers, and whether what it answers is right."""
