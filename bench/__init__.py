"""`make bench`: what EAH costs, measured side by side with vLLM without the plugin."""
