"""thinker: ask a model one question after the other, say what it answers, and why it does not any more."""

import json
import os
import time
import urllib.error
import urllib.request

#: Calls that are made at most, and how long it waits to be stopped after the last, in s.
MOST_CALLS = 50
PATIENCE_S = 20
PAUSE_S = 0.2
#: The longest answer that is asked for: what a call may cost depends on it.
MAX_TOKENS = 100


def ask(question: str) -> str:
    """Call the model through the proxy; what the proxy refuses is an ``HTTPError``."""
    body = {
        "model": os.environ["CORAL_PROXY_MODEL_MAIN"],
        "messages": [{"role": "user", "content": question}],
        "max_tokens": MAX_TOKENS,
    }
    url = os.environ["CORAL_PROXY_URL_MAIN"] + "/v1/chat/completions"
    request = urllib.request.Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=10) as response:
        answer = json.load(response)
    return str(answer["choices"][0]["message"]["content"])


def main() -> None:
    """Think until the model is refused, and then wait to be stopped."""
    for number in range(1, MOST_CALLS + 1):
        try:
            print(f"thought {number}: {ask(f'What is the thought after {number - 1}?')}", flush=True)
        except urllib.error.HTTPError as refusal:
            print(f"thought {number} was refused with {refusal.code}: {refusal.read().decode()}", flush=True)
            break
        time.sleep(PAUSE_S)
    time.sleep(PATIENCE_S)


if __name__ == "__main__":
    main()
