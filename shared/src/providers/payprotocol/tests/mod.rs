//! The adapter against scripted answers and hand-made callbacks.

mod callback;
mod calls;
mod list;

use std::collections::VecDeque;
use std::sync::Mutex;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};

use super::*;
use crate::domain::{Currency, MerchantId, UserId};
use crate::providers::testing::Keys;

const KEY: &str = "pp-test-secret-0123456789abcdef";
const OLD_KEY: &str = "pp-test-secret-old";
const NOW: Timestamp = Timestamp::from_secs(1_700_000_020);
const PATH: &str = "/webhooks/payprotocol/recharge";
const ADDRESS: &str = "TXTESTADDRESS000000000000000000001";

/// A request as it was sent.
struct Sent {
    method: String,
    target: String,
    headers: HeaderMap,
    body: String,
}

/// A provider that answers from a list and remembers what it was sent.
#[derive(Default)]
struct Script {
    answers: Mutex<VecDeque<Result<(u16, String), OutboundError>>>,
    sent: Mutex<Vec<Sent>>,
}

impl std::fmt::Debug for Script {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Script")
    }
}

#[async_trait]
impl Outbound for Script {
    async fn send(
        &self,
        request: Request<Bytes>,
        _: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let (parts, body) = request.into_parts();
        self.sent.lock().unwrap().push(Sent {
            method: parts.method.to_string(),
            target: parts.uri.to_string(),
            headers: parts.headers,
            body: String::from_utf8(body.to_vec()).unwrap(),
        });
        let (status, body) =
            self.answers.lock().unwrap().pop_front().expect("an answer is left")?;
        Ok(Response::builder().status(status).body(Bytes::from(body)).unwrap())
    }
}

struct Bench {
    provider: PayProtocol,
    script: Arc<Script>,
}

fn bench_with(change: Value, reachable: bool) -> Bench {
    let listed = |chain_id: i32, network: &str, currency_id: i32, decimals: u32| {
        json!({"chain_id": chain_id, "network": network, "currency_id": currency_id,
               "symbol": "USDT", "contract": "TCONTRACT", "decimals": decimals, "currency": "USDT"})
    };
    let mut all = json!({
        "api_key": "PPTEST01",
        "base_url": "https://payprotocol.invalid/api/mer",
        "callback_paths": [PATH, "/other?m=1"],
        "currencies": [listed(136, "TRON", 17, 6), listed(101, "BSC", 18, 18)],
    });
    for (name, value) in change.as_object().unwrap() {
        all[name] = value.clone();
    }
    let keys = Keys { provider: "payprotocol", current: KEY, previous: OLD_KEY, reachable };
    let (name, keys) = keys.of();
    let script = Arc::new(Script::default());
    let settings = serde_json::from_value(all).unwrap();
    Bench { provider: PayProtocol::new(name, settings, keys, script.clone()).unwrap(), script }
}

fn bench() -> Bench {
    bench_with(json!({}), true)
}

impl Bench {
    /// The next answer is this envelope.
    fn answers(self, code: i64, data: &Value) -> Bench {
        let body = json!({"code": code, "msg": "success", "data": data});
        self.replies(Ok((200, &body.to_string())))
    }

    /// The next answer is this.
    fn replies(self, answer: Result<(u16, &str), OutboundError>) -> Bench {
        let answer = answer.map(|(status, body)| (status, body.to_owned()));
        self.script.answers.lock().unwrap().push_back(answer);
        self
    }

    /// What was asked for, without the host and the prefix.
    fn asked(&self) -> Vec<String> {
        let sent = self.script.sent.lock().unwrap();
        let below = |sent: &Sent| sent.target.split("/api/mer").nth(1).unwrap_or("").to_owned();
        sent.iter().map(below).collect()
    }
}

/// The contract's example of a recharge, after `change`.
fn recharge(change: &Value) -> Value {
    let mut members = json!({
        "rechargeId": 900_001, "chainId": 136, "currencyId": 17, "userId": 7_046,
        "uuid": mark().as_str(), "walletId": 65_953, "walletAddress": ADDRESS,
        "fromAddress": "TXTESTSENDER0000000000000000000001", "transferHash": "00aa",
        "rechargeAmount": "12345678", "rechargeStatus": 0,
        "createTime": "2023-11-15 06:13:29", "blockTime": "2023-11-15 06:13:20",
    });
    for (name, value) in change.as_object().unwrap() {
        members[name] = value.clone();
    }
    members
}

fn mark() -> UserMark {
    UserMark::derive(&MerchantId::parse("m_demo").unwrap(), &UserId::parse("u_1").unwrap())
}

const fn usdt(minor: i128) -> EvidenceKind {
    EvidenceKind::Paid(Money::new(minor, Currency::Usdt))
}

fn is_unknown<T>(answer: &Answer<T>) -> bool {
    matches!(answer, Answer::Unknown(_))
}
