"""A Server-Sent Events server for trading: one feed in, many live streams out.

The way of an event, one folder a stage, calls forward only:

    a line of a feed
      -> net.ingest_port -> wire.ndjson -> ingest.messages -> ingest.redaction
      -> ingest.pipeline -> backplane -> state.projection
      -> hub.hub (and hub.replay_buffer) -> delivery.conflation -> delivery.audience
      -> wire.sse_frame (once per event) -> wire.compression (once per audience)
      -> net.stream_connection -> the peer

And of a client: `net.http_protocol` -> `net.routes` -> `net.stream_endpoint` -> `hub.streams`,
which opens the stream in one call. `daemon` builds the parts and drives them with time.

What survives a restart: the stores -> `checkpoint` -> the records of `saved` ->
`restart.state_file`, and back, through `record_checks`.

What is promised stands in README.md; no Python name is part of it but `__version__`.
"""

from importlib.metadata import version

__version__ = version("sseserver")
