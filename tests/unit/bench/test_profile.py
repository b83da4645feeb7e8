"""The table beside the flame graph: whose time is whose."""

from bench.profile import Frame, Function, frames, hottest

FLAME_GRAPH = """<svg><g><title>all (10 samples, 100%)</title><rect x="0.0000%" y="36" \
width="100.0000%" height="15" fill="rgb(227,0,7)" fg:x="0" fg:w="10"/></g>\
<g><title>Hub.publish (sseserver/hub/hub.py:12) (10 samples, 100.00%)</title><rect x="0.0000%" \
y="52" width="100.0000%" height="15" fill="rgb(227,0,7)" fg:x="0" fg:w="10"/></g>\
<g><title>&lt;lambda&gt; (x.py:3) (4 samples, 40.00%)</title><rect x="10.0000%" y="68" \
width="40.0000%" height="15" fill="rgb(227,0,7)" fg:x="1" fg:w="4"/></g>\
<g><title>write (libc.so.6) (2 samples, 20.00%)</title><rect x="80.0000%" y="68" width="20.0000%" \
height="15" fill="rgb(227,0,7)" fg:x="8" fg:w="2"/></g></svg>"""


def test_the_boxes_of_a_flame_graph() -> None:
    """Each box but the one below all is read, those of native code too."""
    assert [
        Frame("Hub.publish (sseserver/hub/hub.py)", 12, 52, 0, 10),
        Frame("<lambda> (x.py)", 3, 68, 1, 4),
        Frame("write (libc.so.6)", 0, 68, 8, 2),
    ] == frames(FLAME_GRAPH)


def test_own_time_is_what_the_boxes_above_leave() -> None:
    """Of ten samples of a function, six in others that it called, four are its own."""
    assert [
        Function("Hub.publish (sseserver/hub/hub.py)", 0.4, 1.0, 12),
        Function("<lambda> (x.py)", 0.4, 0.4, 3),
        Function("write (libc.so.6)", 0.2, 0.2, 0),
    ] == hottest(frames(FLAME_GRAPH))


def test_lines_of_one_function_are_one_row() -> None:
    """Own time of all lines is summed, and the one with most of it is named."""
    found = [Frame("f", 1, 1, 0, 2), Frame("f", 2, 1, 2, 6), Frame("f", 3, 1, 8, 2)]

    assert [Function("f", 1.0, 1.0, 2)] == hottest(found)


def test_a_function_that_calls_itself_is_counted_once() -> None:
    """The total of a function is the time in which it was anywhere on the stack."""
    found = [Frame("f", 1, 1, 0, 4), Frame("f", 2, 2, 0, 3)]

    assert [Function("f", 1.0, 1.0, 2)] == hottest(found)
