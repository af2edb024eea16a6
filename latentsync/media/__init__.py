"""Reading and writing sound and pictures, one frame at a time."""
