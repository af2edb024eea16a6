"""Measures of pictures and sound that training, data preparation and evaluation share."""
