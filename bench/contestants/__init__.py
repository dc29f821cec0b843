"""What is measured side by side: each module knows how to start one server and what to ask it."""
