"""`make bench`: measures what EAH costs, side by side with vLLM without the plugin."""
