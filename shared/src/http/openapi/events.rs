//! The routes about notices: deliveries, events, sending again.

use serde_json::json;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::path::Operation;
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{Ref, Required};

use super::operations::{EVENTS, answer, client, order, order_id, paging, query, refused, text};

/// A message id, as an example.
const MESSAGE: &str = "msg_4B1W0NZ5Q4X8T2J7C9D3F6G1HK";

pub(super) fn deliveries() -> Operation {
    let words = (
        "Read the deliveries of an order",
        "Every notification of the order, and every attempt to deliver it. What a receiver says is not kept.",
    );
    let example = json!({"orderId": "RPW1GRR7605SQ5S6QYRBC3CZ4T", "deliveries": [{
        "id": MESSAGE, "type": "recharge.succeeded", "sequence": 1, "state": "RETRYING",
        "nextAttemptAt": "2026-01-01T00:10:00Z", "attempts": [{
            "at": "2026-01-01T00:05:00Z", "status": 503, "durationMs": 120, "error": null,
            "requested": false}]}]});
    let operation = client(EVENTS, "getDeliveries", words, "recharge:read")
        .parameter(order_id())
        .response("200", answer("The deliveries.", "Deliveries", Some(example)));
    refused(operation, &[401, 403, 404, 413, 429, 500, 503])
}

pub(super) fn notify() -> Operation {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name("CancelRecharge")));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::False))
        .description(Some("None, or an empty object."))
        .content("application/json", body.build());
    let words = (
        "Send the latest notification again",
        "With the id and the body that it has. It is sent beside the plan of attempts, which goes on as it \
         was if nobody takes it. `409 CONFLICT` while there is nothing to tell, and after 27 times.",
    );
    let example = json!({"id": MESSAGE, "type": "recharge.succeeded", "sequence": 1});
    let operation = client(EVENTS, "notifyAgain", words, "recharge:write")
        .parameter(order_id())
        .request_body(Some(body.build()))
        .response("202", answer("It is sent again.", "SentAgain", Some(example)));
    refused(operation, &[400, 401, 403, 404, 409, 413, 415, 429, 500, 503])
}

pub(super) fn events() -> Operation {
    let words = (
        "List events",
        "Every notification of the merchant, in the order in which they were first sent, whatever became of \
         them; also without any address. For pulling what was missed: keep `next`, and go on with it as \
         `after`. An event is shown 15 seconds after it was first sent, so that none comes to light behind \
         a cursor. One that is listed twice has one `id`.",
    );
    let [limit, _] = paging();
    let after = "Only events after this: `next` of an answer before. Left out: from the beginning.";
    let mut data = order("SUCCESS");
    data["sequence"] = json!(1);
    let event = json!({"id": MESSAGE, "type": "recharge.succeeded", "timestamp": "2026-01-01T00:05:00Z",
        "data": data});
    let example = json!({"events": [event], "next": "5b1f0c2d9e8a7b6c31", "hasMore": false});
    let operation = client(EVENTS, "listEvents", words, "recharge:read")
        .parameter(query("after", after, text()))
        .parameter(limit)
        .response("200", answer("One page of events.", "EventPage", Some(example)));
    refused(operation, &[400, 401, 403, 413, 429, 500, 503])
}

pub(super) fn resend() -> Operation {
    let body = ContentBuilder::new()
        .schema(Some(Ref::from_schema_name("ResendEvents")))
        .example(Some(json!({"from": "2026-01-01T00:00:00Z", "to": "2026-01-02T00:00:00Z"})));
    let body = RequestBodyBuilder::new()
        .required(Some(Required::True))
        .description(Some("One JSON object."))
        .content("application/json", body.build());
    let words = (
        "Send events again",
        "Those of a range of time, with the ids and bodies that they have. One request looks at 500 events \
         at most: go on with `cursor` until `nextCursor` is `null`. An event is sent again 27 times at most, \
         and a merchant's events not faster than it may create orders: 1,000 at once after a pause. Then the \
         answer is `429` with `Retry-After`, or ends early with a `nextCursor`.",
    );
    let example = json!({"resent": 3, "lookedAt": 500, "nextCursor": null});
    let operation = client(EVENTS, "resendEvents", words, "recharge:write")
        .request_body(Some(body.build()))
        .response("202", answer("They are sent again.", "Resent", Some(example)));
    refused(operation, &[400, 401, 403, 413, 415, 429, 500, 503])
}
