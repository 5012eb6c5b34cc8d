"""The mathematics of the method, as functions of tensors. This folder imports torch, `kernels` and plain data."""
