"""Messages for clients, who shall see their own file names and nothing of the server's folders."""

import re
from collections.abc import Mapping
from pathlib import Path

#: What still looks like a path from the root, of two folders or more; its last name alone is of use.
_PATH = re.compile(r"(?<![\w./:])(?:/[^\s/:;,'\"()]+){2,}")
_LONGEST = 1000


def for_client(text: str, names: Mapping[Path, str]) -> str:
    """A message with paths replaced by the names given, the longest first, and others by their last part."""
    marks = {}
    for i, path in enumerate(sorted(names, key=lambda path: -len(str(path)))):
        marks[f"\0{i}\0"] = names[path]  # a name may look like a path: nothing looks at it again
        text = text.replace(str(path), f"\0{i}\0")
    text = _PATH.sub(lambda match: match[0].rsplit("/", 1)[-1], text)
    for mark, name in marks.items():
        text = text.replace(mark, name)
    return text if len(text) <= _LONGEST else text[: _LONGEST - 3] + "..."
