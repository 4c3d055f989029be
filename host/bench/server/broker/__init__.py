"""The user's own message broker: which devices it lets in, what they may do there, and whom it is to cut off."""
