//! The settlement queue: evidence on its way to the worker, and the dead letters of what it could
//! not read. Neither carries a signature or a key.

mod notification;

pub use notification::{NotificationMessage, NotificationQueue, Outgoing};

use aws_lambda_events::sqs::SqsMessage;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::types::{
    MessageAttributeValue, MessageSystemAttributeNameForSends as SystemAttribute,
    MessageSystemAttributeValue,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::fmt;

use crate::domain::{
    Currency, Deposit, Dust, Evidence, EvidenceKind, Money, OrderId, ProviderName, ReviewId,
    Source, Timestamp, TraceId, UserMark, shadow,
};
use crate::json::Strict;
use crate::metrics::Stage;
use crate::xray::{self, TraceHeader};

/// The version of the message that this code writes; it reads this one only. A member more is no new
/// version: functions of two releases share the queue while one replaces the other.
const VERSION: u32 = 1;

/// The attribute that names the stage in which a message was sent: an order of another stage may have the same id.
/// Those of earlier releases have none.
const STAGE: &str = "stage";

/// The version of statements about shadow accounts: releases that do not know of them must not read them.
const SHADOW_VERSION: u32 = 2;

/// The queue did not confirm; the message may be in it all the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NotConfirmed(String);

impl fmt::Display for NotConfirmed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the queue did not confirm: {}", self.0)
    }
}

impl std::error::Error for NotConfirmed {}

/// A message that is not one of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Undecodable(pub &'static str);

/// Evidence on its way to the worker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettlementMessage {
    /// The request that brought the evidence.
    pub trace: TraceId,
    /// The evidence.
    pub evidence: Evidence,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    version: u32,
    trace_id: String,
    provider: String,
    account: String,
    payment_id: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    order_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    user_mark: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    address: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    network: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    transaction_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    dust: Option<String>,
    kind: String,
    /// Minor units; a string, so that no reader's number type cuts it.
    #[serde(skip_serializing_if = "Option::is_none")]
    amount: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    currency: Option<String>,
    source: String,
    stale: bool,
    observed_at_ms: i64,
    digest: String,
    raw: String,
}

impl SettlementMessage {
    /// The message body.
    pub fn encode(&self) -> String {
        let evidence = &self.evidence;
        let paid = match evidence.kind {
            EvidenceKind::Paid(amount) => Some(amount),
            EvidenceKind::Declined
            | EvidenceKind::Unlisted
            | EvidenceKind::TimedOut
            | EvidenceKind::Unrecognised => None,
        };
        let version = if evidence.is_shadow() { SHADOW_VERSION } else { VERSION };
        let wire = Wire {
            version,
            trace_id: self.trace.to_string(),
            provider: evidence.provider.to_string(),
            account: evidence.account.clone(),
            payment_id: evidence.payment_id.clone(),
            order_id: evidence.order_id.as_ref().map(OrderId::to_string),
            user_mark: evidence.user_mark.as_ref().map(UserMark::to_string),
            address: evidence.deposit.as_ref().map(|deposit| deposit.address.clone()),
            network: evidence.deposit.as_ref().map(|deposit| deposit.network.clone()),
            transaction_id: evidence.transaction_id.clone(),
            dust: evidence.dust.map(Dust::text),
            kind: evidence.kind.as_str().to_owned(),
            amount: paid.map(|amount| amount.minor().to_string()),
            currency: paid.map(|amount| amount.currency().code().to_owned()),
            source: evidence.source.as_str().to_owned(),
            stale: evidence.stale,
            observed_at_ms: evidence.observed_at.millis(),
            digest: hex::encode(evidence.digest),
            raw: evidence.raw.clone(),
        };
        let json = serde_json::to_string(&wire).unwrap_or_default();
        // JSON may have them as they are; the queue takes no message that does. They stand in texts only.
        json.replace('\u{fffe}', "\\ufffe").replace('\u{ffff}', "\\uffff")
    }

    /// Reads a message body.
    pub fn decode(body: &str) -> Result<SettlementMessage, Undecodable> {
        SettlementMessage::of(object(body)?)
    }

    fn of(members: Members) -> Result<SettlementMessage, Undecodable> {
        let wire: Wire = typed(members)?;
        let version = if shadow::is_account(&wire.account) { SHADOW_VERSION } else { VERSION };
        if wire.version != version {
            return Err(Undecodable("of another version"));
        }
        let kind = match (wire.kind.as_str(), &wire.amount, &wire.currency) {
            ("paid", Some(minor), Some(code)) => {
                let minor = minor.parse().map_err(|_| Undecodable("amount"))?;
                let currency = Currency::parse(code).ok_or(Undecodable("currency"))?;
                EvidenceKind::Paid(Money::new(minor, currency))
            }
            ("declined", None, None) => EvidenceKind::Declined,
            ("timed_out", None, None) => EvidenceKind::TimedOut,
            ("unlisted", None, None) => EvidenceKind::Unlisted,
            ("unrecognised", None, None) => EvidenceKind::Unrecognised,
            _ => return Err(Undecodable("kind")),
        };
        let mut digest = [0; 32];
        hex::decode_to_slice(&wire.digest, &mut digest).map_err(|_| Undecodable("digest"))?;
        Ok(SettlementMessage {
            trace: TraceId::parse(&wire.trace_id).ok_or(Undecodable("traceId"))?,
            evidence: Evidence {
                provider: ProviderName::parse(&wire.provider).ok_or(Undecodable("provider"))?,
                account: wire.account,
                payment_id: wire.payment_id,
                order_id: optional(wire.order_id, OrderId::parse, "orderId")?,
                user_mark: optional(wire.user_mark, UserMark::parse, "userMark")?,
                deposit: match (wire.address, wire.network) {
                    (Some(address), Some(network)) => Some(Deposit { address, network }),
                    (None, None) => None,
                    _ => return Err(Undecodable("address")),
                },
                transaction_id: wire.transaction_id,
                dust: optional(wire.dust, Dust::parse, "dust")?,
                kind,
                // What people decide stands in the review, never in a message.
                source: Source::parse(&wire.source)
                    .filter(|source| *source != Source::Operator)
                    .ok_or(Undecodable("source"))?,
                stale: wire.stale,
                observed_at: Timestamp::from_millis(wire.observed_at_ms),
                digest,
                raw: wire.raw,
            },
        })
    }
}

/// A decision of people on its way to the worker: which review it is about, and nothing more. What was
/// decided stands in the review, and the worker checks it there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolutionMessage {
    /// The request that completed the decision.
    pub trace: TraceId,
    /// The review.
    pub review: ReviewId,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResolutionWire {
    version: u32,
    trace_id: String,
    review: String,
}

impl ResolutionMessage {
    /// The message body.
    pub fn encode(&self) -> String {
        let (trace_id, review) = (self.trace.to_string(), self.review.to_string());
        let wire = ResolutionWire { version: VERSION, trace_id, review };
        serde_json::to_string(&wire).unwrap_or_default()
    }

    /// Reads a message body.
    pub fn decode(body: &str) -> Result<ResolutionMessage, Undecodable> {
        ResolutionMessage::of(object(body)?)
    }

    fn of(members: Members) -> Result<ResolutionMessage, Undecodable> {
        let wire: ResolutionWire = typed(members)?;
        if wire.version != VERSION {
            return Err(Undecodable("of another version"));
        }
        Ok(ResolutionMessage {
            trace: TraceId::parse(&wire.trace_id).ok_or(Undecodable("traceId"))?,
            review: ReviewId::parse(&wire.review).ok_or(Undecodable("review"))?,
        })
    }
}

/// What the settlement queue carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WorkMessage {
    /// Evidence.
    Settlement(Box<SettlementMessage>),
    /// A decision about a review.
    Resolution(ResolutionMessage),
}

impl WorkMessage {
    /// Reads a message body. What says something of a payment is a statement, whatever members it has beside that.
    pub fn decode(body: &str) -> Result<WorkMessage, Undecodable> {
        let members = object(body)?;
        match members.contains_key("kind") {
            true => SettlementMessage::of(members).map(Box::new).map(WorkMessage::Settlement),
            false => ResolutionMessage::of(members).map(WorkMessage::Resolution),
        }
    }
}

/// The stage that a message was sent in, where it names one.
pub fn stage_of(message: &SqsMessage) -> Option<&str> {
    message.message_attributes.get(STAGE)?.string_value.as_deref()
}

type Members = Map<String, Value>;

/// One object without duplicates: a list by position, which a derived reader takes, is not ours.
fn object(body: &str) -> Result<Members, Undecodable> {
    match serde_json::from_str(body) {
        Ok(Strict(Value::Object(members))) => Ok(members),
        _ => Err(Undecodable("not our message")),
    }
}

fn typed<T: DeserializeOwned>(members: Members) -> Result<T, Undecodable> {
    serde_json::from_value(Value::Object(members)).map_err(|_| Undecodable("not our message"))
}

fn text_attribute(text: &str) -> Result<MessageAttributeValue, NotConfirmed> {
    let value = MessageAttributeValue::builder().data_type("String").string_value(text);
    value.build().map_err(|_| NotConfirmed("attribute".to_owned()))
}

fn optional<T>(
    text: Option<String>,
    parse: impl Fn(&str) -> Option<T>,
    name: &'static str,
) -> Result<Option<T>, Undecodable> {
    text.map(|text| parse(&text).ok_or(Undecodable(name))).transpose()
}

/// The X-Ray trace of the work that sends a message, so that the worker's part joins it.
fn trace_attribute(header: Option<&TraceHeader>) -> Option<SystemAttributes> {
    let header = header?.to_string();
    let value = MessageSystemAttributeValue::builder().data_type("String").string_value(header);
    Some([(SystemAttribute::AwsTraceHeader, value.build().ok()?)].into())
}

type SystemAttributes = HashMap<SystemAttribute, MessageSystemAttributeValue>;

/// The queue that feeds the worker.
#[derive(Debug, Clone)]
pub struct SettlementQueue {
    client: Client,
    url: String,
    stage: Option<Stage>,
}

impl SettlementQueue {
    /// The queue at `url`, of no stage.
    pub const fn new(client: Client, url: String) -> SettlementQueue {
        SettlementQueue { client, url, stage: None }
    }

    /// The same queue; what is sent names `stage`.
    #[must_use]
    pub fn of_stage(self, stage: Stage) -> SettlementQueue {
        SettlementQueue { stage: Some(stage), ..self }
    }

    /// Hands the message over; `Ok` only once the queue has confirmed it.
    pub async fn send(&self, message: &SettlementMessage) -> Result<(), NotConfirmed> {
        self.send_body(message.encode()).await
    }

    /// Hands a decision over; `Ok` only once the queue has confirmed it.
    pub async fn resolve(&self, message: &ResolutionMessage) -> Result<(), NotConfirmed> {
        self.send_body(message.encode()).await
    }

    async fn send_body(&self, body: String) -> Result<(), NotConfirmed> {
        let request = self.client.send_message().queue_url(&self.url);
        let attribute = trace_attribute(xray::current().as_ref());
        let mut request = request.set_message_system_attributes(attribute);
        if let Some(stage) = &self.stage {
            request = request.message_attributes(STAGE, text_attribute(stage.as_str())?);
        }
        let sent = request.message_body(body).send().await;
        sent.map(drop).map_err(|error| NotConfirmed(error.code().unwrap_or("no answer").to_owned()))
    }
}

/// Where messages end that could not be handled.
#[derive(Debug, Clone)]
pub struct DeadLetters {
    client: Client,
    url: String,
}

impl DeadLetters {
    /// The queue at `url`.
    pub const fn new(client: Client, url: String) -> DeadLetters {
        DeadLetters { client, url }
    }

    /// Puts a message aside with the reason as its attribute `reason`; it stays one of its stage.
    pub async fn send(&self, message: &SqsMessage, reason: &str) -> Result<(), NotConfirmed> {
        let body = message.body.as_deref().unwrap_or("");
        let reason = text_attribute(reason)?;
        let mut request = self.client.send_message().queue_url(&self.url).message_body(body);
        if let Some(stage) = stage_of(message) {
            request = request.message_attributes(STAGE, text_attribute(stage)?);
        }
        let attribute = trace_attribute(xray::current().as_ref());
        let request = request.set_message_system_attributes(attribute);
        let sent = request.message_attributes("reason", reason).send().await;
        sent.map(drop).map_err(|error| NotConfirmed(error.code().unwrap_or("no answer").to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn message(kind: EvidenceKind) -> SettlementMessage {
        SettlementMessage {
            trace: TraceId::parse("t-1").unwrap(),
            evidence: Evidence {
                provider: ProviderName::parse("trader").unwrap(),
                account: "APPTEST0001".to_owned(),
                payment_id: "R0123456789ABCDEFGHJKMNPQR".to_owned(),
                order_id: OrderId::parse("R0123456789ABCDEFGHJKMNPQR"),
                user_mark: UserMark::parse("M0123456789ABCDEFGHJKMNPQR"),
                deposit: Some(Deposit { address: "T1".to_owned(), network: "TRON".to_owned() }),
                transaction_id: Some("00aa".to_owned()),
                dust: Some(Dust { units: u128::MAX, scale: 38 }),
                kind,
                source: Source::Callback,
                stale: false,
                observed_at: Timestamp::from_millis(1),
                digest: [7; 32],
                raw: "amount=1".to_owned(),
            },
        }
    }

    #[test]
    fn messages_read_back() {
        let paid = EvidenceKind::Paid(Money::new(i128::from(u64::MAX) * 10, Currency::Usdt));
        for kind in
            [paid, EvidenceKind::Declined, EvidenceKind::Unlisted, EvidenceKind::Unrecognised]
        {
            let message = message(kind);
            assert_eq!(SettlementMessage::decode(&message.encode()), Ok(message));
        }
    }

    #[test]
    fn what_a_queue_does_not_take_is_escaped() {
        let mut odd = message(EvidenceKind::Unrecognised);
        odd.evidence.raw = "\u{ffff}\u{0}\u{1f}\u{fffe}\\uffff\u{7f}\u{10ffff}".to_owned();
        odd.evidence.transaction_id = Some("\u{ffff}".to_owned());
        let encoded = odd.encode();
        // What SQS takes: #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD, #x10000 to #x10FFFF.
        let refused = |c: char| c < ' ' || matches!(c, '\u{fffe}' | '\u{ffff}');
        assert!(!encoded.chars().any(refused), "{encoded}");
        assert_eq!(SettlementMessage::decode(&encoded), Ok(odd));
    }

    #[test]
    fn a_simulated_statement_is_none_that_earlier_releases_read() {
        let mut simulated = message(EvidenceKind::Declined);
        simulated.evidence = simulated.evidence.in_shadow();
        let body = simulated.encode();
        assert_eq!(SettlementMessage::decode(&body), Ok(simulated));
        for version in [1, 3] {
            let other = body.replace("\"version\":2", &format!("\"version\":{version}"));
            assert!(SettlementMessage::decode(&other).is_err(), "{other}");
        }
    }

    #[test]
    fn what_is_not_ours_is_refused() {
        let good = message(EvidenceKind::Declined).encode();
        for bad in [
            "",
            "not json",
            "{}",
            "[]",
            &good.replace(":1,", ":2,"),
            &good.replace("declined", "paid"),
            &good.replace("callback", "operator"),
            &good.replacen('{', "{\"kind\":\"declined\",", 1),
            &format!("{good}{good}"),
        ] {
            assert!(SettlementMessage::decode(bad).is_err(), "{bad}");
            assert!(WorkMessage::decode(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn members_by_position_are_not_ours() {
        let statement: Wire =
            serde_json::from_str(&message(EvidenceKind::Declined).encode()).unwrap();
        // Without the members that it leaves out, in the order of the type.
        let statement = json!([
            statement.version,
            statement.trace_id,
            statement.provider,
            statement.account,
            statement.payment_id,
            statement.order_id,
            statement.user_mark,
            statement.address,
            statement.network,
            statement.transaction_id,
            statement.dust,
            statement.kind,
            null,
            null,
            statement.source,
            statement.stale,
            statement.observed_at_ms,
            statement.digest,
            statement.raw,
        ]);
        assert!(serde_json::from_value::<Wire>(statement.clone()).is_ok());
        let resolution = json!([1, "t-1", "0123456789ABCDEFGHJKMNPQRS"]);
        assert!(serde_json::from_value::<ResolutionWire>(resolution.clone()).is_ok());
        for body in [statement.to_string(), resolution.to_string()] {
            assert_eq!(WorkMessage::decode(&body), Err(Undecodable("not our message")), "{body}");
        }
    }

    #[test]
    fn a_statement_that_also_has_a_member_of_a_decision_is_a_statement() {
        let statement = message(EvidenceKind::Declined);
        let more =
            statement.encode().replacen('{', r#"{"review":"0123456789ABCDEFGHJKMNPQRS","#, 1);
        let read = WorkMessage::decode(&more);
        assert_eq!(read, Ok(WorkMessage::Settlement(Box::new(statement))));
    }
}
