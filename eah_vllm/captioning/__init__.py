"""`eah-vllm caption`: captions of many pictures, with EAH, with every caption checked, and never asked for twice."""
