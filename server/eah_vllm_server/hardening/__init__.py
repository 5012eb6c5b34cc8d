"""What defends any HTTP server from its clients. One option switches all of it off. It knows nothing of EAH."""
