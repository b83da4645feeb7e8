"""Tests of `sseserver.net.metrics_page`."""

import math
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from sseserver.net.metrics_page import PROMETHEUS_CONTENT_TYPE, resident_bytes
from tests.unit.net.site import Site, request


def busy_site() -> Site:
    """Return a site with three streams of two users and two events."""
    site = Site()
    site.session("s-1", "user-1")
    site.session("s-2", "user-2")
    site.strategies.put("str-1", "user-1")
    for head in (
        "GET /api/stream/alerts\nCookie: session=s-1",
        "GET /api/stream/strategies/str-1\nCookie: session=s-1",
        "GET /api/stream/alerts\nCookie: session=s-2\nAccept-Encoding: gzip",
        "GET /api/stream/prices",
    ):
        site.connect().receive(request(head))
    site.core.fact("user-1", 1)
    site.hub.flush()
    site.hub.counters.published_events["alert:new"] = 1
    site.hub.counters.delivery_latency.observe(0.0004, 3)
    site.hub.counters.delivery_latency.observe(0.2)
    site.hub.counters.delivery_latency.observe(9)
    return site


def samples(site: Site) -> dict[str, Any]:
    """Return what Prometheus' own parser reads: value by name and labels."""
    found = {}
    for family in text_string_to_metric_families(site.metrics.prometheus().decode()):
        for sample in family.samples:
            labels = "".join(f"{{{key}={value}}}" for key, value in sample.labels.items())
            assert sample.name + labels not in found
            found[sample.name + labels] = sample.value
    return found


def test_json_has_what_the_specification_names() -> None:
    """Time, clients, users and the connections of each user."""
    page = busy_site().metrics.json(names_users=True)

    assert {
        "timestamp": "2025-01-02T12:10:00.000Z",
        "totalClients": 4,
        "totalUsers": 2,
        "clientsPerUser": [
            {"userId": "user-1", "clientCount": 2},
            {"userId": "user-2", "clientCount": 1},
        ],
    }.items() <= page.items()


def test_json_names_nobody_unless_told_to() -> None:
    """Without permission the list is empty and everything else is the same."""
    site = busy_site()
    named, unnamed = (site.metrics.json(names_users=flag) for flag in (True, False))

    assert {**named, "clientsPerUser": [], "memory": None} == {**unnamed, "memory": None}
    assert "user-1" not in str(unnamed)


def test_json_has_what_an_operator_asks_for() -> None:
    """Streams, buffers, state, delivery, latency and memory."""
    page: dict[str, Any] = busy_site().metrics.json(names_users=False)
    memory = page.pop("memory")

    assert 1_000_000 < memory["residentBytes"] < 10_000_000_000
    assert {
        "clientsPerStream": {"alerts": 2, "strategies": 1, "prices": 1},
        "buffers": {
            "users": 2,
            "events": 1,
            "bytes": page["buffers"]["bytes"],
            "evictedEvents": 0,
            "droppedBuffers": 0,
        },
        "state": {"sessions": 2},
        "delivery": {
            "publishedEvents": 1,
            "deliveredEvents": 1,
            "writes": 1,
            "conflatedUpdates": 0,
            "slowConsumers": 0,
            "isCorked": False,
            "corkLoad": 0.0,
        },
        "latency": {"observations": 5, "p50Seconds": 0.0005, "p99Seconds": 5.0},
        "audiences": 4,
        "gzipContexts": 1,
    }.items() <= page.items()


def test_json_of_a_server_without_traffic() -> None:
    """Nothing is divided by zero and unknown latency is null."""
    page = Site().metrics.json(names_users=True)

    assert (0, 0, []) == (page["totalClients"], page["totalUsers"], page["clientsPerUser"])
    assert {"observations": 0, "p50Seconds": None, "p99Seconds": None} == page["latency"]


def test_prometheus_reads_every_gauge_and_counter() -> None:
    """Its own parser finds the values, each name and label once."""
    found = samples(busy_site())

    assert {
        "sseserver_streams{stream=alerts}": 2,
        "sseserver_streams{stream=strategies}": 1,
        "sseserver_streams{stream=prices}": 1,
        "sseserver_state_entries{kind=sessions}": 2,
        "sseserver_connected_users": 2,
        "sseserver_http_connections": 0,
        "sseserver_audiences": 4,
        "sseserver_gzip_contexts": 1,
        "sseserver_buffered_users": 2,
        "sseserver_buffered_events": 1,
        "sseserver_corked": 0,
        "sseserver_cork_load": 0,
        "sseserver_published_events_total{type=alert:new}": 1,
        "sseserver_streams_opened_total{stream=alerts}": 2,
        "sseserver_connections_opened_total": 4,
        "sseserver_requests_total": 4,
        "sseserver_delivered_events_total": 1,
        "sseserver_writes_total": 1,
        "sseserver_refused_streams_total": 0,
        "sseserver_failed_deliveries_total": 0,
    }.items() <= found.items()
    assert found["sseserver_resident_bytes"] > 1_000_000


def test_prometheus_reads_the_latency_histogram() -> None:
    """Buckets add up, the open one holds all, and sum and count agree."""
    found = samples(busy_site())
    name = "sseserver_delivery_latency_seconds"
    buckets = {key: value for key, value in found.items() if key.startswith(f"{name}_bucket")}

    assert 14 == len(buckets)
    assert sorted(buckets.values()) == list(buckets.values())
    assert (3, 3, 4, 5) == tuple(
        buckets[f"{name}_bucket{{le={bound}}}"] for bound in ("0.0005", "0.1", "0.25", "+Inf")
    )
    assert 5 == found[f"{name}_count"]
    assert math.isclose(9.2012, found[f"{name}_sum"])


def test_prometheus_names_nobody() -> None:
    """No label and no value is a user's."""
    assert b"user-1" not in busy_site().metrics.prometheus()


def test_the_content_type_says_what_it_is() -> None:
    """Prometheus decides by it how to read the text."""
    assert PROMETHEUS_CONTENT_TYPE.startswith("text/plain; version=")


def test_resident_memory_is_the_kernels_figure() -> None:
    """It is this process's, and grows with it."""
    before = resident_bytes()
    block = bytearray(b"x" * 50_000_000)
    after = resident_bytes()

    assert len(block) // 2 < after - before
