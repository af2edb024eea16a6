"""From a video and a sound to a lip-synced video."""
