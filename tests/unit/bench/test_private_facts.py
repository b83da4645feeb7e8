"""Orders as the bench of private facts feeds them."""

from bench.load import MOMENT
from bench.private_facts import order_line
from sseserver.ingest import messages
from sseserver.ingest.messages import PublishOrderUpdate


def test_an_order_is_a_line_of_known_fields() -> None:
    """The time stands in a field that the server knows."""
    moment = "0" * 19 + "1"
    line = order_line("user-1", 3).replace(MOMENT.encode(), moment.encode())

    message = messages.decode(line.strip())

    assert isinstance(message, PublishOrderUpdate)
    assert None is message.extra
    assert ("user-1", "user-1-3", moment) == (
        message.userId,
        message.data.orderId,
        message.data.reason,
    )
