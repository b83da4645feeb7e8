"""What a connection answered, read by h11 as a client, which takes valid HTTP alone."""

import h11

from tests.support.raw_client import Answer

ENDLESS = "text/event-stream"


def read_answers(data: bytes, *, methods: str | None = "") -> list[Answer]:
    """Take apart what came back on one connection; a stream is the last, as far as it came.

    Args:
        data: All bytes from the server.
        methods: `H` for every request that was a HEAD, by position among the final answers. None
            where that is not known: an answer has no body when none of ours follows its head.

    Raises:
        h11.RemoteProtocolError: That is not HTTP, or an answer was cut short.
    """
    found: list[Answer] = []
    count = 0
    while data:
        is_head = _has_no_body(data) if methods is None else methods[count : count + 1] == "H"
        answer, data = _read_answer(data, is_head=is_head)
        found.append(answer)
        count += answer.status >= 200
    return found


def _has_no_body(data: bytes) -> bool:
    rest = data.partition(b"\r\n\r\n")[2]
    return not rest or rest.startswith(b"HTTP/1.1 ")


def _read_answer(data: bytes, *, is_head: bool) -> tuple[Answer, bytes]:
    client = h11.Connection(h11.CLIENT)
    client.send(
        h11.Request(method="HEAD" if is_head else "GET", target="/", headers=[("Host", "a")])
    )
    client.send(h11.EndOfMessage())
    client.receive_data(data)
    head = client.next_event()
    if not isinstance(head, h11.Response | h11.InformationalResponse):
        raise h11.RemoteProtocolError(f"no answer: {data[:80]!r}")
    answer = Answer(head.status_code, _headers(head), b"")
    if isinstance(head, h11.InformationalResponse):
        return answer, client.trailing_data[0]
    body = b""
    while True:
        event = client.next_event()
        if isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            return answer._replace(body=body), client.trailing_data[0]
        elif answer.headers.get("content-type") == ENDLESS:
            return answer._replace(body=body), b""
        else:
            raise h11.RemoteProtocolError(f"an answer was cut short: {data[:80]!r}")


def _headers(head: h11.Response | h11.InformationalResponse) -> dict[str, str]:
    headers: dict[str, str] = {}
    for raw_name, raw_value in head.headers:
        name, value = raw_name.decode("ascii"), raw_value.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers
