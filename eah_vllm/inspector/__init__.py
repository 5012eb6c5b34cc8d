"""`eah-vllm inspect IMAGE`: what each head of a served model sees of a picture, as one page. It is a client."""
