"""`prefix_reuse`: requests that read cached prompts of an earlier one. Imports `method` and plain data."""
