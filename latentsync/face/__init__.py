"""Faces: found in a frame, aligned to the network's square, and put back."""
