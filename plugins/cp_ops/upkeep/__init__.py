"""The package's care for its own records."""
