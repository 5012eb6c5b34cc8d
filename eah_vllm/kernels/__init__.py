"""The method on GPUs, in Triton. This folder imports torch and Triton."""
