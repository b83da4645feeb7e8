"""The `demo` command: the server, and a feed on its ingest port as any other feed would be.

    market | recorded_quotes → trading_desk (+ commentary) → feed → feed_connection → ingest port

`market`, `trading_desk` and `commentary` are pure: randomness and time are arguments.
"""
