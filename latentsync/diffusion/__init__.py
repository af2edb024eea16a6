"""From pixels to latents and back, and the sampling loop between them."""
