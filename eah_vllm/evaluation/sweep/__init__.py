"""The search for the best setting, and the tuning of captions that end sooner."""
