"""The stages of the data pipeline, one file each."""
