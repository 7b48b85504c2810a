"""Until when tasks may wait, and what ends those that waited too long."""
