"""An agent outside the daemon: serves moothall.v1.AgentRunner and answers with a model, or with a script.

    python runner.py --listen 127.0.0.1:7000 --model-url http://localhost:8000 --model qwen3
    python runner.py --listen 127.0.0.1:7000 --echo

Prints `ready grpc://HOST:PORT` (or grpcs://) when it takes calls. SIGTERM ends it. What must hold for a runner: docs/runner.md.
"""

import argparse
import http.client
import json
import os
import signal
import socket
import sys
import threading
import time
from concurrent import futures
from pathlib import Path
from urllib.parse import urlsplit

import grpc

VERSION = "1"
PROTO = Path(__file__).resolve().parents[2] / "proto"
# Half of what the daemon takes per second, and far more often than its limit for silence.
PROGRESS_EVERY = 0.1
# The daemon's limits for one answer and one progress message, in bytes.
MOST_TEXT, MOST_PROGRESS = 1 << 20, 4 << 10
# A model that says nothing for so long is given up; the daemon would give this runner up.
SILENCE = 50


class Trouble(Exception):
    """Why there is no answer: a gRPC code, and what to say."""

    def __init__(self, code, what):
        super().__init__(what)
        self.code = code


class Echo:
    """Scripted answers, which say so: text and model's name both."""

    def answer(self, call, stopped):
        yield "", {
            "text": f"This is scripted: stage {call.stage}, round {call.round}, {len(call.ask)} characters were asked.",
            "model": "simulated",
            "finish": "stop",
        }


class OpenAi:
    """A server that speaks the OpenAI-compatible protocol, asked with a stream so that silence is noticed."""

    def __init__(self, url, model):
        self.address = urlsplit(url if "://" in url else f"http://{url}")
        self.path = self.address.path.rstrip("/").removesuffix("/v1") + "/v1/chat/completions"
        self.model = model

    def answer(self, call, stopped):
        kind = http.client.HTTPSConnection if self.address.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.address.hostname, self.address.port, timeout=SILENCE)
        stopped.then(lambda: close(connection))
        try:
            headers = {"Content-Type": "application/json", "X-Moothall-Call": call.call_id}
            if key := os.environ.get("RUNNER_MODEL_KEY"):
                headers["Authorization"] = f"Bearer {key}"
            connection.request("POST", self.path, json.dumps(self.body(call)), headers)
            yield from self.read(connection.getresponse())
        except TimeoutError as error:
            raise Trouble(grpc.StatusCode.DEADLINE_EXCEEDED, f"the model was silent for {SILENCE} s") from error
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as error:
            raise Trouble(grpc.StatusCode.UNAVAILABLE, f"the model did not answer: {error}") from error
        finally:
            close(connection)

    def body(self, call):
        body = {
            "model": call.model or self.model,
            "messages": [{"role": "system", "content": call.shared}, {"role": "user", "content": call.ask}],
            "temperature": call.temperature,
            "max_tokens": call.max_tokens,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        for name in ("top_p", "seed"):
            if call.HasField(name):
                body[name] = getattr(call, name)
        return body

    def read(self, response):
        """The pieces of the text as they come, then the whole."""
        if response.status == 429:
            raise Trouble(grpc.StatusCode.RESOURCE_EXHAUSTED, "the model has too much to do")
        if response.status >= 500:
            raise Trouble(grpc.StatusCode.UNAVAILABLE, f"the model answered status {response.status}")
        if response.status != 200:
            raise Trouble(grpc.StatusCode.FAILED_PRECONDITION, f"the model answered status {response.status}")
        whole = {"text": "", "reasoning": "", "model": self.model, "finish": "other"}
        done = False
        for line in response:
            if not line.startswith(b"data:"):
                continue
            data = line.removeprefix(b"data:").strip()
            if done := data == b"[DONE]":
                break
            piece = json.loads(data)
            whole["model"] = piece.get("model") or whole["model"]
            whole["usage"] = piece.get("usage") or whole.get("usage")
            for choice in piece.get("choices", [])[:1]:
                delta = choice.get("delta") or {}
                whole["text"] += delta.get("content") or ""
                whole["reasoning"] += delta.get("reasoning") or delta.get("reasoning_content") or ""
                whole["finish"] = choice.get("finish_reason") or whole["finish"]
                if len(whole["text"].encode()) + len(whole["reasoning"].encode()) > MOST_TEXT:
                    raise Trouble(grpc.StatusCode.OUT_OF_RANGE, "the model's answer is too long")
                yield delta.get("content") or "", None
        if not done:
            raise Trouble(grpc.StatusCode.UNAVAILABLE, "the model's answer was cut off")
        yield "", whole


def close(connection):
    """Also wakes a thread that reads from it."""
    if connection.sock:
        try:
            connection.sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
    connection.close()


class Stopped:
    """Whether nobody waits for a call any more; gRPC says so from a thread of its own."""

    def __init__(self, context):
        self.lock, self.over, self.deeds = threading.Lock(), False, []
        if not context.add_callback(self.stop):
            self.stop()

    def stop(self):
        with self.lock:
            self.over, deeds = True, self.deeds
        for deed in deeds:
            deed()

    def then(self, deed):
        """Does it when the call is over, at once if it is."""
        with self.lock:
            self.deeds.append(deed)
            over = self.over
        if over:
            deed()


def servicer(protos, services, answers, most):
    class Runner(services.AgentRunnerServicer):
        def Describe(self, request, context):
            name = "moothall-example-" + type(answers).__name__.lower()
            return protos.DescribeResponse(name=name, version=VERSION, max_concurrent=most)

        def Run(self, request, context):
            stopped = Stopped(context)
            try:
                yield from updates(request, stopped)
            except Trouble as trouble:
                if not stopped.over:
                    context.abort(trouble.code, str(trouble))
            finally:
                log(f"{request.call_id} {'was cancelled' if stopped.over else 'ended'}")

    def updates(request, stopped):
        said, due = "", time.monotonic()
        for piece, whole in answers.answer(request, stopped):
            if stopped.over:
                return
            if whole:
                yield protos.RunUpdate(result=result(whole))
                return
            said += piece
            if time.monotonic() >= due:
                yield protos.RunUpdate(progress=protos.RunProgress(text=said[-MOST_PROGRESS // 4 :]))
                said, due = "", time.monotonic() + PROGRESS_EVERY

    def result(whole):
        finish = {"stop": protos.RUN_FINISH_STOP, "length": protos.RUN_FINISH_LENGTH}
        usage = whole.get("usage")
        return protos.RunResult(
            text=whole["text"],
            reasoning=whole.get("reasoning", ""),
            model=whole["model"],
            finish=finish.get(whole["finish"], protos.RUN_FINISH_OTHER),
            usage=usage
            and protos.RunUsage(
                prompt_tokens=usage.get("prompt_tokens", 0), completion_tokens=usage.get("completion_tokens", 0)
            ),
        )

    return Runner()


def log(line):
    print(line, file=sys.stderr, flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--listen", default="127.0.0.1:7000", metavar="HOST:PORT", help="port 0 = any free one")
    parser.add_argument("--echo", action="store_true", help="scripted answers, marked as such; no model")
    parser.add_argument("--model-url", metavar="URL", help="an OpenAI-compatible server; its key: RUNNER_MODEL_KEY")
    parser.add_argument("--model", default="", metavar="NAME", help="for seats that name none")
    parser.add_argument("--concurrency", type=int, default=8, metavar="N", help="calls at once")
    parser.add_argument("--certificate", metavar="FILE", help="serve grpcs://, with --private-key; both PEM")
    parser.add_argument("--private-key", metavar="FILE")
    given = parser.parse_args()
    if bool(given.certificate) != bool(given.private_key):
        parser.error("--certificate and --private-key go together")
    if given.echo == bool(given.model_url):
        parser.error("either --echo or --model-url")

    # Stubs made on the spot; `python -m grpc_tools.protoc` writes the same into files.
    sys.path.insert(0, str(PROTO))
    protos, services = grpc.protos_and_services("moothall/v1/runner.proto")
    answers = Echo() if given.echo else OpenAi(given.model_url, given.model)
    # Two threads more than calls: Describe must be answered whatever else is done.
    server = grpc.server(futures.ThreadPoolExecutor(given.concurrency + 2))
    services.add_AgentRunnerServicer_to_server(servicer(protos, services, answers, given.concurrency), server)
    scheme = "grpc"
    if given.certificate:
        pair = Path(given.private_key).read_bytes(), Path(given.certificate).read_bytes()
        scheme, port = "grpcs", server.add_secure_port(given.listen, grpc.ssl_server_credentials([pair]))
    else:
        port = server.add_insecure_port(given.listen)
    server.start()
    ended = threading.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: ended.set())
    print(f"ready {scheme}://{given.listen.rsplit(':', 1)[0]}:{port}", flush=True)
    ended.wait()
    server.stop(grace=1).wait()


if __name__ == "__main__":
    main()
