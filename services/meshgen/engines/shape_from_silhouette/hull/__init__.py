"""Several pictures of one thing: its visual hull, rounded, and painted from each picture."""
