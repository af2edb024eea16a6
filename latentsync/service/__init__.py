"""A server for many users: jobs wait in a queue on the disk, each device keeps its networks loaded."""
