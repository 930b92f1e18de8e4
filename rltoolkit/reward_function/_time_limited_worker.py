"""The script behind ``TimeLimited``: asks one reward function about one response after another.

python -P _time_limited_worker.py SYS_PATH_AS_JSON PICKLED_FUNCTION_IN_BASE64
"""

from __future__ import annotations

import base64
import json
import os
import pickle
import sys
from typing import Any


def respond(function: Any, text: str, answer: str | None) -> tuple[bool, float] | str | None:
    """(correct, reward) of ``text`` given a reference; without one, the answer found in it."""
    if answer is None:
        return function.extract(text)
    correct, reward = function([text], [answer])
    return bool(correct[0]), float(reward[0])


def main() -> None:
    """See ``WorkerPool`` for the protocol."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not pass for a reply
    sys.path[:] = json.loads(sys.argv[1])
    function = pickle.loads(base64.b64decode(sys.argv[2]))
    print("ready", file=replies, flush=True)
    for line in sys.stdin:
        request = json.loads(line)
        try:
            reply = [respond(function, request["text"], request["answer"]), False]
        except Exception:
            reply = [None, True]
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
