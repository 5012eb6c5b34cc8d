"""What tests, `bench`, `load_tests` and the Makefile share: a server's start, and clients for it."""
