"""The check on a machine with a GPU and without a network: what is packed here, and what runs there."""
