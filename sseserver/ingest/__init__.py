"""What may come in: messages, redaction, and the pipeline from a line to the hub. No I/O."""
