"""All that an existing client of REST workflows does, made from the contract alone, against a daemon that dispatches
nothing by itself (WORKFLOW_DISPATCH=manual). Ends with what it saw, as JSON; a broken promise is an error."""

import json
import re
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from threading import local

ADDRESS = sys.argv[1]
KEYS = {
    "id", "workflow_type", "status", "feature_id", "current_phase", "result", "error",
    "created_at", "updated_at", "completed_at",
}
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$")
FEATURE = re.compile(r"^\d{3,}-[a-z0-9-]+$")
own = local()


def call(method, path, body=None, headers=None):
    connection = getattr(own, "connection", None)
    if connection is None:
        connection = own.connection = HTTPConnection(ADDRESS, timeout=50)
    data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
    connection.request(method, path, data, {"content-type": "application/json", **(headers or {})})
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text else None, response.headers


def is_workflow(document):
    assert KEYS <= set(document), document
    assert str(uuid.UUID(document["id"])) == document["id"]
    assert FEATURE.match(document["feature_id"]), document["feature_id"]
    for name in ["created_at", "updated_at"]:
        assert TIME.match(document[name]), document[name]
    assert document["completed_at"] is None or TIME.match(document["completed_at"])
    return document


def create(workflow_type="specify", description="Add user authentication", **more):
    status, document, _ = call("POST", "/workflows", {"workflow_type": workflow_type, "feature_description": description, **more})
    assert status == 201, (status, document)
    return is_workflow(document)


def advance(workflow, trigger, **more):
    headers = more.pop("headers", None)
    return call("POST", f"/workflows/{workflow}/advance", {"trigger": trigger, **more}, headers)


def goes(workflow, trigger, to, phase, **more):
    status, document, _ = advance(workflow, trigger, **more)
    assert status == 200, (status, document)
    is_workflow(document)
    assert (document["status"], document["current_phase"]) == (to, phase), document
    return document


def refused(answer, status, code):
    assert answer[0] == status, answer[:2]
    error = answer[1]["error"]
    assert error["code"] == code and isinstance(error["message"], str) and error["message"], error
    assert isinstance(error.get("details", []), list)
    if status == 422:
        assert isinstance(answer[1]["detail"], list) and {"type", "loc", "msg"} <= set(answer[1]["detail"][0])


def the_whole_way():
    for workflow_type in ["specify", "plan", "tasks", "implement"]:
        first = create(workflow_type, context={"priority": "P1"})
        assert (first["status"], first["current_phase"], first["workflow_type"]) == ("in_progress", "phase_1", workflow_type)
        assert first["result"] is None and first["error"] is None and first["completed_at"] is None
        workflow = first["id"]
        goes(workflow, "agent_complete", "waiting_approval", "phase_1", phase_result={"content": "draft"})
        goes(workflow, "agent_complete", "waiting_approval", "phase_1", phase_result={"content": "again"})
        goes(workflow, "human_approved", "in_progress", "phase_2", phase_result={"approved": True}, actor="ann")
        goes(workflow, "agent_complete", "waiting_approval", "phase_2", phase_result={"content": "final"})
        last = goes(workflow, "human_approved", "completed", "phase_2", actor="bob", reason="well done")
        assert last["completed_at"] and "final" in json.dumps(last["result"]) and "bob" in json.dumps(last["result"])
        assert call("GET", f"/workflows/{workflow}")[1] == last
        for trigger in ["agent_complete", "human_approved", "human_rejected", "error"]:
            refused(advance(workflow, trigger), 400, "INVALID_STATE_TRANSITION")
        status, answer, _ = call("GET", f"/workflows/{workflow}/history")
        steps = [(step["from"], step["to"], step["trigger"]) for step in answer["history"]]
        assert status == 200 and steps == [
            ("pending", "in_progress", "start"),
            ("in_progress", "waiting_approval", "agent_complete"),
            ("waiting_approval", "in_progress", "human_approved"),
            ("in_progress", "waiting_approval", "agent_complete"),
            ("waiting_approval", "completed", "human_approved"),
        ], steps
        assert {"phase", "actor", "reason", "metadata", "at"} <= set(answer["history"][0])
        artifacts = call("GET", f"/workflows/{workflow}/artifacts")[1]["artifacts"]
        assert [(a["phase"], a["content"]["content"]) for a in artifacts] == [("phase_1", "draft"), ("phase_2", "final")]


def rejections():
    workflow = create()["id"]
    for n in range(4):
        goes(workflow, "agent_complete", "waiting_approval", "phase_1", phase_result={})
        goes(workflow, "human_rejected", "failed" if n == 3 else "in_progress", "phase_1", reason=f"no {n}")
    assert "no 3" in call("GET", f"/workflows/{workflow}")[1]["error"]
    other = create()["id"]
    for phase, to in [("phase_1", "in_progress"), ("phase_2", "completed")]:
        for _ in range(2):
            goes(other, "agent_complete", "waiting_approval", phase)
            goes(other, "human_rejected", "in_progress", phase, reason="again")
        goes(other, "agent_complete", "waiting_approval", phase)
        goes(other, "human_approved", to, "phase_2")
    for before in [[], ["agent_complete"]]:
        third = create()["id"]
        for trigger in before:
            advance(third, trigger)
        assert goes(third, "error", "failed", "phase_1", reason="no disk")["error"] == "no disk"
    fourth = create()["id"]
    refused(advance(fourth, "human_approved"), 400, "INVALID_STATE_TRANSITION")
    refused(advance(fourth, "human_rejected"), 400, "INVALID_STATE_TRANSITION")
    status, document, _ = call("POST", f"/workflows/{fourth}/cancel")
    assert status == 200 and (document["status"], document["error"]) == ("failed", "cancelled"), document
    refused(call("POST", f"/workflows/{fourth}/cancel"), 400, "INVALID_STATE_TRANSITION")


def bad_input():
    good = {"workflow_type": "specify", "feature_description": "long enough"}
    refused(call("POST", "/workflows", {**good, "workflow_type": "dance"}), 400, "INVALID_WORKFLOW_TYPE")
    for text in ["short", "   blanks  ", ""]:
        refused(call("POST", "/workflows", {**good, "feature_description": text}), 400, "VALIDATION_ERROR")
    wrong = [b"", b"{", b"[]", b'"x"', {}, {"workflow_type": "specify"}, {**good, "workflow_type": 1}, {**good, "context": []}]
    for body in wrong:
        refused(call("POST", "/workflows", body), 422, "VALIDATION_ERROR")
    workflow = create()["id"]
    nobody = str(uuid.uuid4())
    # Body, UUID, trigger, existence, transition: the first that is wrong is what is told.
    refused(call("POST", "/workflows/no-uuid/advance", b"{"), 422, "VALIDATION_ERROR")
    refused(call("POST", "/workflows/no-uuid/advance", {"trigger": "dance"}), 400, "INVALID_UUID")
    refused(advance(nobody, "dance"), 400, "INVALID_TRIGGER")
    refused(advance(nobody, "human_approved"), 404, "WORKFLOW_NOT_FOUND")
    refused(advance(workflow, "human_approved"), 400, "INVALID_STATE_TRANSITION")
    for body in [b"", b"[]", {}, {"trigger": 1}, {"trigger": "error", "phase_result": 1}, {"trigger": "error", "actor": 1}]:
        refused(call("POST", f"/workflows/{workflow}/advance", body), 422, "VALIDATION_ERROR")
    for path in ["", "/history", "/artifacts"]:
        refused(call("GET", f"/workflows/no-uuid{path}"), 400, "INVALID_UUID")
        refused(call("GET", f"/workflows/{nobody}{path}"), 404, "WORKFLOW_NOT_FOUND")
    for form in [workflow.upper(), workflow.replace("-", ""), f"urn:uuid:{workflow}"]:
        assert call("GET", f"/workflows/{form}")[1]["id"] == workflow
    for query in ["status=sleeping", "type=dance", "limit=0", "limit=many"]:
        refused(call("GET", f"/workflows?{query}"), 400, "VALIDATION_ERROR")


def feature_ids():
    slugs = {}
    for text in [
        "Add user authentication with OAuth2 and many more words", "إضافة تسجيل الدخول", "添加用户登录功能以及更多的内容",
        "🚀🚀🚀🚀🚀🚀🚀🚀🚀🚀", "Größe & Maß: §§§ äöü", "??????????!!!", "----------", "\u200b" * 12,
    ]:
        slug = create("plan", text)["feature_id"].split("-", 1)[1]
        assert re.match(r"^[a-z0-9]+(-[a-z0-9]+)*$", slug) and len(slug) <= 30, slug
        slugs[text] = slug
    assert slugs["??????????!!!"] == slugs["----------"] == "feature"
    with ThreadPoolExecutor(64) as pool:
        made = list(pool.map(lambda n: create("tasks", f"feature number {n}"), range(2000)))
    ids = {document["feature_id"] for document in made}
    numbers = {feature.split("-")[0] for feature in ids}
    assert len(ids) == len(numbers) == 2000
    return slugs


def races():
    workflow = create()["id"]
    advance(workflow, "agent_complete")
    with ThreadPoolExecutor(40) as pool:
        told = list(pool.map(lambda _: advance(workflow, "human_approved")[0], range(40)))
    assert sorted(told) == [200] + [400] * 39, told
    found = call("GET", f"/workflows/{workflow}")[1]
    assert (found["status"], found["current_phase"]) == ("in_progress", "phase_2")


def preconditions():
    workflow = create()["id"]
    status, _, headers = call("GET", f"/workflows/{workflow}")
    tag = headers["etag"]
    assert status == 200 and tag
    goes(workflow, "agent_complete", "waiting_approval", "phase_1", headers={"if-match": tag})
    refused(advance(workflow, "human_approved", headers={"if-match": tag}), 412, "PRECONDITION_FAILED")
    key = {"idempotency-key": str(uuid.uuid4())}
    body = {"workflow_type": "specify", "feature_description": "made only once"}
    first, second = call("POST", "/workflows", body, key), call("POST", "/workflows", body, key)
    assert first[0] == second[0] == 201 and first[1]["id"] == second[1]["id"]
    refused(call("POST", "/workflows", {**body, "feature_description": "something else"}, key), 422, "IDEMPOTENCY_KEY_REUSED")


def lists():
    one = create("implement", "to be found again")
    status, page, _ = call("GET", "/workflows?type=implement&status=in_progress&limit=1")
    assert status == 200 and [w["id"] for w in page["workflows"]] == [one["id"]]
    page = call("GET", f"/workflows?feature_id={one['feature_id']}&type=implement")[1]
    assert [w["id"] for w in page["workflows"]] == [one["id"]]
    found, cursor = [], ""
    while cursor is not None:
        page = call("GET", f"/workflows?type=tasks&limit=500{'&cursor=' + cursor if cursor else ''}")[1]
        found += [is_workflow(w)["id"] for w in page["workflows"]]
        cursor = page["next_cursor"]
    assert len(found) == len(set(found)) >= 2000, len(found)


def pages():
    status, document, _ = call("GET", "/")
    assert status == 200 and {"service", "version", "docs"} <= set(document)
    status, document, _ = call("GET", "/health")
    assert status == 200 and {"status", "version", "uptime_seconds", "service", "components"} <= set(document)
    assert document["status"] in ["healthy", "degraded"]
    status, document, _ = call("GET", "/openapi.json")
    assert status == 200 and document["openapi"].startswith("3.")
    for path in ["/workflows", "/workflows/{id}", "/workflows/{id}/advance", "/health"]:
        assert any(re.sub(r"\{[^}]*\}", "{id}", known) == path for known in document["paths"]), path


the_whole_way()
rejections()
bad_input()
slugs = feature_ids()
races()
preconditions()
lists()
pages()
print(json.dumps({"slugs": slugs}))
