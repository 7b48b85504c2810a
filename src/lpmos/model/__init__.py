"""The vocabulary and the rules of LPMOS: pure values and functions, with no I/O and no clock."""
