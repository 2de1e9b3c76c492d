"""An agent hub of somebody else, made from the contract alone, that does what each workflow's context tells it.

`context.hub` of a workflow is a list of words, one for each attempt at a phase, the last one for all that follow:

    ok, low          an answer with confidence 91 or 40
    late             an answer after a second
    flaky            503 twice, then an answer; `dropped`: the connection is closed instead
    false            `success: false`
    error, detail, fields    400 or 422 with `{"error": {"message"}}`, `{"detail": {"error"}}`, `{"detail": [{"msg"}]}`
    text, garbage    500 with a text, 200 with what is no JSON
    silent           no answer for a minute

It remembers what it was asked (`GET /seen`), by the idempotency key.
"""

import json
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

seen = []
tries = {}
lock = threading.Lock()


def answer(body, confidence):
    context = body["context"]
    told = context.get("rejection_reason")
    text = f"{body['workflow_type']} {context['phase']} of {context['feature_id']}" + (f", not {told}" if told else "")
    return {
        "success": True,
        "result": {"content": text, "had_previous": context.get("previous_result") is not None},
        "confidence": confidence,
        "metadata": {"checks_passed": True, "model": "scripted"},
        "error": None,
        "escalation_id": None,
    }


class Hub(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def reply(self, status, document):
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        with lock:
            self.reply(200, {"seen": seen} if self.path == "/seen" else {"status": "healthy"})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        key = self.headers["idempotency-key"]
        note = {"key": key, "path": self.path, "body": body, "answered": False}
        with lock:
            seen.append(note)
            tries[key] = tries.get(key, 0) + 1
            times = tries[key]
        words = (body["context"].get("additional_context") or {}).get("hub") or ["ok"]
        word = words[min(int(key.rsplit("/", 1)[1]), len(words)) - 1]
        try:
            self.do(word, body, times)
        except BrokenPipeError:
            pass  # Nobody waits for it any more.
        with lock:
            note["answered"] = True

    def do(self, word, body, times):
        if word == "late":
            time.sleep(1)
        if word == "silent":
            time.sleep(60)
        if word == "dropped" and times < 3:
            self.close_connection = True
            return
        if word == "flaky" and times < 3:
            return self.reply(503, {"detail": "busy"})
        if word == "false":
            return self.reply(200, {"success": False, "result": None, "error": "no agent could do it"})
        if word == "error":
            return self.reply(400, {"error": {"code": "BAD", "message": "the agent is unknown"}})
        if word == "detail":
            return self.reply(400, {"detail": {"error": "the agent is away"}})
        if word == "fields":
            return self.reply(422, {"detail": [{"loc": ["body", "context"], "msg": "field required", "type": "missing"}]})
        if word == "text":
            return self.reply(500, b"the hub is on fire")
        if word == "garbage":
            return self.reply(200, b"<html>")
        self.reply(200, answer(body, 40 if word == "low" else 91))


server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
server.daemon_threads = True
print(f"ready http=127.0.0.1:{server.server_address[1]}", flush=True)
threading.Thread(target=lambda: (sys.stdin.read(), server.shutdown()), daemon=True).start()
server.serve_forever()
