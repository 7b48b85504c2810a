"""Secrets at rest: sealed texts, the keys that seal them, and their rotation."""
