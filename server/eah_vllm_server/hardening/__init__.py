"""What defends any HTTP server from its clients, switched off as one. Knows nothing of EAH."""
