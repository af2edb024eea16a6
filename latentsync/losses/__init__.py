"""What training minimises: pure functions, and modules that hold a frozen network."""
