"""The method on GPUs, in Triton. Imports torch and Triton."""
