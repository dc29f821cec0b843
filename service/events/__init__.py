"""Events: changes with their audience and everything needed to act on them."""
