"""Where published events are kept before they are applied: in this process, for now."""
