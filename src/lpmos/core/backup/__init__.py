"""Backups of the store: made whole or not at all, proved by a restore, restored without harm."""
