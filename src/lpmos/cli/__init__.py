"""The command line `lpmos`: arguments in, one call of `lpmos.app` or another part, text out."""
