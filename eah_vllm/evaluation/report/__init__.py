"""The figures as one HTML page with plots."""
