"""Rules that decide in an operator's place: conditions, approval, zero touch, dry runs."""
