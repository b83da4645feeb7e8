"""Who gets an event: subscriptions, replay buffers, opening and resuming, limits. No I/O."""
