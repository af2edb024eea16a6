"""Procedural talking heads: drawn people who speak synthesised sentences, with everything about them known."""
