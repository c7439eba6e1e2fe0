"""Receives callbacks of knouds-worker, with `pip install aiohttp standardwebhooks`.

CALLBACK_SECRET=whsec_… python receiver.py 9000
"""

import os
import sys

from aiohttp import web
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["CALLBACK_SECRET"])
seen: set[str] = set()  # in an app: a table, written in the transaction that does the work
newest: dict[str, int] = {}


async def receive(request: web.Request) -> web.Response:
    """Verify a callback, and take each event once, the newest of a job last."""
    body = await request.read()  # the bytes as they came: another JSON text has another signature
    try:
        event = webhook.verify(body, dict(request.headers))
    except WebhookVerificationError as error:
        return web.Response(status=400, text=str(error))
    job = event["data"]
    callback_id = request.headers["webhook-id"]
    if callback_id in seen:
        return web.Response(status=204)  # a duplicate: it was taken before
    if event["sequence"] > newest.get(job["id"], 0):
        newest[job["id"]] = event["sequence"]
        print(event["type"], job["id"], job["result"], flush=True)
    seen.add(callback_id)
    return web.Response(status=204)


app = web.Application(client_max_size=8 << 20)
app.router.add_post("/knouds", receive)

if __name__ == "__main__":
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), print=None)
