"""The training loop, what it keeps, what it reports, and the two networks it trains."""
