"""Sound to audio tokens, through the encoder of OpenAI's Whisper."""
