"""A coordstore backend in one file of JSON lines."""
