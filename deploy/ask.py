"""Asks a server of the built-in model for one caption with EAH: `python3 deploy/ask.py http://localhost:8000`.

Needs nothing but Python. Ends with 1 if EAH was not applied. VLLM_API_KEY is used where it is set.
"""

import base64
import json
import os
import sys
import urllib.request
from pathlib import Path

PICTURE = Path(__file__).parents[1] / "docs" / "images" / "scene-60.png"


def ask(url: str) -> dict:
    """The reply to a request for a caption of the README's picture."""
    picture = base64.b64encode(PICTURE.read_bytes()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}},
        {"type": "text", "text": "Please describe this image in detail."},
    ]
    body = {"model": "scenes", "temperature": 0, "messages": [{"role": "user", "content": content}]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('VLLM_API_KEY', '')}"}
    data = json.dumps(body | {"eah": {"report": True}}).encode()
    request = urllib.request.Request(f"{url}/v1/chat/completions", data, headers)
    with urllib.request.urlopen(request, timeout=120) as reply:
        return json.load(reply)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    answer = ask(sys.argv[1])
    sys.stdout.write(f"{answer['choices'][0]['message']['content']}\n{json.dumps(answer['eah'])}\n")
    sys.exit(0 if answer["eah"]["applied"] else 1)
