"""A Triton backend named `cpu` that compiles nothing.

vLLM refuses Model Runner V2 where Triton has no backend for the machine. With `TRITON_INTERPRET=1` every kernel is
interpreted and no backend is ever asked to compile, so naming one is enough. Without that variable Triton would try to
compile for it and fail: this distribution therefore lives in `.venv-v2` only.
"""
