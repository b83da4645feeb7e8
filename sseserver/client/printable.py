"""Text from a peer, made safe for a terminal."""

import json


def escape_unprintable(text: str) -> str:
    r"""Return `text` with everything that is no visible character or space escaped.

    Control characters could move the cursor, recolour what stands before or start a new line
    of their own making; invisible ones could turn the order of what is read. They become JSON
    escapes (`\u001b`, `\n`), so that JSON stays the same JSON.
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )
