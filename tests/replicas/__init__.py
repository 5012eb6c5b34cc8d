"""Two real servers behind a real nginx with the shipped configuration, one killed under load: `make replicas`."""
