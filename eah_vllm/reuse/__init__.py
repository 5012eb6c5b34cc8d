"""`prefix_reuse`: requests read the cached prompt of an earlier one. Imports `method`, `kernels`, plain data."""
