"""The store: one small interface (`api`), its backends, and the copy of it that services read."""
