"""Many clips through a chain of stages, on one machine or a cluster, with a record of what became of each."""
