"""`prefix_reuse`: requests read the cached prompt of an earlier one. This folder imports `method`, `kernels` and plain data."""
