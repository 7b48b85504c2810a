"""Older layouts of the store read, and written as v3 (REQUIREMENTS M1 to M4)."""
