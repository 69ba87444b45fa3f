//! `recharge reviews` and `recharge resolve`: what waits for a person, and a person's decision, over the
//! same signed requests that everybody else sends.

use clap::Args;
use recharge_shared::domain::{Action, Currency, Money};
use serde_json::{Map, Value, json};

use crate::call::{ApiKey, Client, Reply};

/// What a person wants done.
#[derive(Debug, Args)]
pub struct Decision {
    /// The review.
    review: String,
    /// What to do.
    #[arg(value_parser = clap::builder::PossibleValuesParser::new(Action::WORDS))]
    action: String,
    /// The order, of credit_order.
    #[arg(long)]
    order: Option<String>,
    /// The user, of credit_user.
    #[arg(long)]
    user: Option<String>,
    /// The user's merchant, of credit_user; the key's own without this, except an operator's.
    #[arg(long)]
    merchant: Option<String>,
    /// Why; kept with the money.
    #[arg(long)]
    note: String,
}

/// The open reviews, or the closed ones, as a table, oldest first.
pub async fn list(client: &Client, key: ApiKey<'_>, closed: bool) -> Result<String, String> {
    let which = if closed { "closed" } else { "open" };
    let mut rows = vec![HEAD.map(str::to_owned)];
    let mut cursor = String::new();
    loop {
        let path = format!("/admin/reviews?status={which}&limit=100{cursor}");
        let page = good(client.signed(key, ("GET", &path), "", "").await?, 200)?;
        rows.extend(page["reviews"].as_array().into_iter().flatten().map(row));
        match page["nextCursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => break,
        }
    }
    if rows.len() == 1 {
        return Ok(format!("no {which} reviews"));
    }
    Ok(table(&rows))
}

/// Sends a decision; where the review stands afterwards.
pub async fn resolve(
    client: &Client,
    key: ApiKey<'_>,
    decision: &Decision,
) -> Result<String, String> {
    let Decision { review, action, order, user, merchant, note } = decision;
    let mut body = Map::new();
    let given = [("orderId", order), ("userId", user), ("merchant", merchant)];
    body.insert("action".to_owned(), json!(action));
    for (name, value) in given {
        body.extend(value.as_ref().map(|value| (name.to_owned(), json!(value))));
    }
    body.insert("note".to_owned(), json!(note));
    let path = format!("/admin/reviews/{review}/resolve");
    let body = Value::Object(body).to_string();
    let after = good(client.signed(key, ("POST", &path), &body, "").await?, 202)?;
    let next = match text(&after["status"]) {
        "PROPOSED" => ": another person has to decide the same",
        "APPROVED" => ": the settlement carries it out",
        _ => "",
    };
    Ok(format!("{review} {}{next}", text(&after["status"])))
}

fn good(reply: Reply, wanted: u16) -> Result<Value, String> {
    if reply.status == wanted {
        return Ok(reply.json);
    }
    let (code, message) = (text(&reply.json["errorCode"]), text(&reply.json["message"]));
    Err(format!("answered {} {code}: {message}", reply.status))
}

const HEAD: [&str; 7] = ["REVIEW", "SINCE", "STATUS", "WHY", "AMOUNT", "WHOSE", "ABOUT"];

fn row(review: &Value) -> [String; 7] {
    let of = |name: &str| text(&review[name]);
    let whose = match (of("merchant"), of("userId")) {
        ("", _) => String::new(),
        (merchant, user) => format!("{merchant}/{user}"),
    };
    let mut about = vec![match of("orderId") {
        "" => format!("payment {} of {}", of("paymentId"), of("paymentMethod")),
        order => order.to_owned(),
    }];
    let mut say = |holds: bool, what: String| about.extend(holds.then_some(what));
    say(review["takesTwo"] == true, "takes two".to_owned());
    let is_open = ["OPEN", "PROPOSED"].contains(&of("status"));
    say(is_open && review["booked"] == true, "booked meanwhile".to_owned());
    for earlier in review["earlierDecisions"].as_array().into_iter().flatten() {
        say(true, format!("before: {}", decided(earlier)));
    }
    let decision = &review["decision"];
    say(decision.is_object(), decided(decision));
    say(review["refusal"].is_string(), format!("refused: {}", of("refusal")));
    let [id, since, status, why] = ["reviewId", "createdAt", "status", "why"].map(of);
    let [id, since, status, why] = [id, since, status, why].map(str::to_owned);
    [id, since, status, why, amount(review), whose, about.join(", ")]
}

fn decided(decision: &Value) -> String {
    let word = |name| text(&decision[name]);
    let by = match word("second") {
        "" => word("by").to_owned(),
        second => format!("{} and {second}", word("by")),
    };
    format!("{} by {by}: {}", word("action"), word("note"))
}

fn amount(review: &Value) -> String {
    let minor = &review["amount"];
    let minor = minor.as_i64().map(i128::from).or_else(|| text(minor).parse().ok());
    let money = minor.zip(Currency::parse(text(&review["currency"])));
    money.map_or_else(
        || text(&review["kind"]).to_owned(),
        |(minor, currency)| {
            format!("{} {}", Money::new(minor, currency).decimal(), currency.code())
        },
    )
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("")
}

/// Columns as wide as their widest cell; the last one as it is.
fn table(rows: &[[String; 7]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; 7] = std::array::from_fn(|column| width(column).unwrap_or(0));
    let line = |row: &[String; 7]| {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}"));
        cells.collect::<Vec<String>>().join("  ").trim_end().to_owned()
    };
    rows.iter().map(line).collect::<Vec<String>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_says_what_waits_and_what_was_decided() {
        let open = json!({
            "reviewId": "R1", "createdAt": "2026-01-01T00:05:00Z", "status": "OPEN",
            "why": "amount_mismatch", "booked": false, "takesTwo": true, "kind": "paid",
            "amount": 4_000_000, "currency": "USDT", "orderId": "RABC", "merchant": "m_demo",
            "userId": "u_1", "decision": null, "refusal": null,
        });
        let decided = json!({
            "reviewId": "R22", "createdAt": "2026-01-01T00:06:00Z", "status": "REJECTED",
            "why": "unlisted_currency", "booked": false, "takesTwo": false, "kind": "unlisted",
            "amount": null, "currency": null, "orderId": null, "paymentId": "900001",
            "paymentMethod": "payprotocol", "merchant": null, "userId": null, "refusal": null,
            "decision": {"action": "reject", "by": "admin", "second": "admin2", "note": "no money"},
            "earlierDecisions": [{"action": "refund", "by": "admin3", "note": "x", "second": null}],
        });
        let rows = [HEAD.map(str::to_owned), row(&open), row(&decided)];
        let wanted = "\
REVIEW  SINCE                 STATUS    WHY                AMOUNT         WHOSE       ABOUT
R1      2026-01-01T00:05:00Z  OPEN      amount_mismatch    4.000000 USDT  m_demo/u_1  RABC, takes two
R22     2026-01-01T00:06:00Z  REJECTED  unlisted_currency  unlisted                   \
payment 900001 of payprotocol, before: refund by admin3: x, reject by admin and admin2: no money";
        assert_eq!(table(&rows), wanted);
    }
}
