"""What happened, told to those whom it concerns, with everything they need to act."""
