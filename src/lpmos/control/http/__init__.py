"""What every call has in common: bodies, parameters, conditions, pages, problems."""
