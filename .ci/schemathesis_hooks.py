"""Hooks for schemathesis: requests are signed as they go over the wire, and valid ones keep what a schema cannot say.

Use: see CONTRIBUTING.md. Key and secret are the local stack's.
"""

import hashlib
import hmac
import json
import time
import uuid

import requests
import schemathesis
import schemathesis.core.parameters

KEY = "demo"
SECRET = b"demo-secret-0123456789abcdef0123456789ab"
PROVIDER_KEY = "trader-test-key-0123"
CREATE = "/recharges"
UNSIGNED = "X-Hook-Unsigned"


class Signed(requests.auth.AuthBase):
    """Signs what requests has prepared: the bytes, the path and the query exactly as they are sent."""

    def __call__(self, request):
        if request.headers.pop(UNSIGNED, None):
            return request
        now = str(int(time.time()))
        key = request.headers.get("Idempotency-Key", "")
        key = key if isinstance(key, bytes) else key.encode("latin-1", "replace")
        body = request.body or b""
        body = body if isinstance(body, bytes) else body.encode()
        digest = hashlib.sha256(body).hexdigest()
        head = ["v1", request.method, request.path_url, now, KEY]
        to_sign = "\n".join(head).encode() + b"\n" + key + b"\n" + digest.encode()
        request.headers["X-Api-Key"] = KEY
        request.headers["X-Timestamp"] = now
        request.headers["X-Signature"] = "v1=" + hmac.new(SECRET, to_sign, hashlib.sha256).hexdigest()
        return request


schemathesis.auth.set_from_requests(Signed()).skip_for(path="/health").skip_for(path="/docs").skip_for(
    path="/openapi.json"
).skip_for(path_regex="^/recharges/callback")


@schemathesis.hook
def before_call(context, case, kwargs):
    """Valid requests are made to mean something: what the introduction says in words holds for them too."""
    if case.meta is None or not case.meta.generation.mode.is_positive:
        if without_signature(case):
            case.headers = {**(case.headers or {}), UNSIGNED: "1"}
        return
    if case.method == "POST" and case.path == CREATE and isinstance(case.body, dict):
        create(case)
    if case.query:
        case.query.pop("cursor", None)      # only those that were given out are good
        for name in ("from", "to"):
            if name in case.query:
                case.query[name] = "2026-01-31T23:59:59Z"
    if case.path.startswith("/recharges/callback") and isinstance(case.body, dict):
        confirm(case)


def confirm(case):
    """Signed as the simulated provider does it: SHA-1 over names, values and the account's key."""
    fields = {name: str(value) for name, value in case.body.items() if name != "sign"}
    if "orderid" not in fields:             # the other kind's; the local stack has no account of it
        fields = {"amount": "100", "localusermark": "M" + "0" * 25, "orderid": "R" + "0" * 25, "t": "1767225600"}
    fields["appid"] = "APPTEST0001"
    text = "".join(name + fields[name] for name in sorted(fields))
    sign = hashlib.sha1((text + PROVIDER_KEY).encode()).hexdigest().upper()
    case.body = {**fields, "sign": sign}
    if "provider" in (case.path_parameters or {}):
        case.path_parameters["provider"] = "trader"


def without_signature(case):
    """Whether a missing signature may be what is wrong with this request."""
    component = case.meta.components.get(schemathesis.core.parameters.ParameterLocation.HEADER)
    wrong = component is not None and not component.mode.is_positive
    given = {name.lower() for name in case.headers or {}}
    return wrong and not {"x-api-key", "x-timestamp", "x-signature"} <= given


def create(case):
    body = case.body
    if isinstance(body.get("expiresInSeconds"), float):
        body["expiresInSeconds"] = int(body["expiresInSeconds"])    # 66.0 is an integer to a schema
    body["currency"] = "USDT"               # what the one provider takes
    body["amount"] = max(100, int(body["amount"]) // 100 * 100)
    for name in ("paymentMethod", "callbackUrl", "idempotencyKey"):
        body.pop(name, None)
    if body.get("metadata") and len(json.dumps(body["metadata"]).encode()) > 2048:
        del body["metadata"]
    case.headers = {**(case.headers or {}), "Idempotency-Key": str(uuid.uuid4())}
    if body.get("orderReference"):
        body["orderReference"] = uuid.uuid4().hex   # unique per merchant
