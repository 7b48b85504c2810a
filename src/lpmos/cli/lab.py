"""`lpmos lab`: the demonstrations."""
