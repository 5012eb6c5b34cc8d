"""The code that vLLM calls. This is the only folder of the package that imports vLLM, except for one command."""
