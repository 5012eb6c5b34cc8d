"""The method's mathematics: tensors in, tensors out. Imports torch, `kernels` and plain data."""
