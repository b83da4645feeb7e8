"""What is true now: orders, positions, prices, sessions, strategy owners. No I/O."""
