//! `recharge exam URL`: plays against a client's receiver what happens in practice, and what forgers try,
//! and says what it got wrong. Loopback and plain http are allowed: it is the developer's own tool.

use std::fmt::Write as _;
use std::time::Duration;

use aws_smithy_types::base64;
use hmac::{Hmac, KeyInit, Mac};
use http::Uri;
use recharge_shared::clock::{Clock, SystemClock};
use serde_json::json;
use sha2::Sha256;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// How long the receiver has for one delivery, like the notifier's own.
const DEADLINE: Duration = Duration::from_secs(20);
/// Between the pieces of a slow delivery.
const PIECE_EVERY: Duration = Duration::from_millis(100);
const PIECES: usize = 10;
/// The longest head of an answer that is read.
const HEAD_BYTES_MAX: usize = 16 * 1_024;
/// A secret that the receiver does not know.
const OTHER_SECRET: &str = "whsec_YW5vdGhlci1zZWNyZXQtb2YtdGhlLWV4YW0tMDEyMzQ1Njc=";

/// What a receiver should say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// 2xx.
    Taken,
    /// 4xx.
    Refused,
}

/// How one exercise went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grade {
    /// Its name.
    pub name: &'static str,
    /// What it shows.
    pub about: &'static str,
    /// What the receiver should say.
    pub wanted: Wanted,
    /// What it said to each delivery: a status, or why there is none.
    pub answers: Vec<Result<u16, String>>,
}

impl Grade {
    /// Whether every answer is the one wanted.
    pub fn passed(&self) -> bool {
        let fits = |answer: &Result<u16, String>| match (self.wanted, answer) {
            (Wanted::Taken, Ok(status)) => (200..300).contains(status),
            (Wanted::Refused, Ok(status)) => (400..500).contains(status),
            (_, Err(_)) => false,
        };
        !self.answers.is_empty() && self.answers.iter().all(fits)
    }
}

/// A delivery as it goes out.
#[derive(Debug, Clone)]
struct Delivery {
    headers: Vec<(&'static str, String)>,
    body: String,
}

/// Who examines.
struct Examiner {
    uri: Uri,
    secret: String,
    /// Tells this exam's ids from those of others.
    run: String,
}

/// Plays every exercise against the receiver at `url`, which knows `secret`.
pub async fn run(url: &str, secret: &str) -> Result<Vec<Grade>, String> {
    let uri: Uri = url.parse().map_err(|_| format!("{url} is no URL"))?;
    if uri.scheme_str() != Some("http") || uri.host().is_none() {
        return Err("the exam speaks http: examine the receiver behind its TLS".to_owned());
    }
    key(secret)?;
    let examiner = Examiner { uri, secret: secret.to_owned(), run: run_id() };
    Ok(vec![
        examiner.valid().await,
        examiner.duplicate().await,
        examiner.reordered().await,
        examiner.rotation().await,
        examiner.slow().await,
        examiner.retried().await,
        examiner
            .forged("wrong signature", "signed with another secret", |delivery| {
                let signature = delivery.signature(OTHER_SECRET);
                delivery.set("webhook-signature", &signature);
            })
            .await,
        examiner
            .forged("altered body", "one byte differs from what was signed", |delivery| {
                delivery.body = delivery.body.replacen("5000000", "6000000", 1);
            })
            .await,
        examiner
            .forged("altered id", "the id differs from what was signed", |delivery| {
                let id = format!("{}x", delivery.get("webhook-id"));
                delivery.set("webhook-id", &id);
            })
            .await,
        examiner.unsigned().await,
        examiner.aged("stale", "signed an hour ago", -3_600).await,
        examiner.aged("from the future", "signed in an hour", 3_600).await,
    ])
}

impl Examiner {
    /// A good delivery of the notice `sequence` of the order `number`, signed `off_secs` from now.
    fn delivery(&self, number: u32, sequence: u32, off_secs: i64) -> Delivery {
        let (kind, status) = match sequence {
            1 => ("recharge.expired", "EXPIRED"),
            _ => ("recharge.succeeded", "SUCCESS"),
        };
        let order = format!("R{:0>25}", format!("{}{number:02}", self.run));
        let body = json!({
            "type": kind, "timestamp": "2026-01-01T00:05:00Z",
            "data": {"orderId": order, "status": status, "userId": "u_exam", "amount": 5_000_000,
                "currency": "USDT", "receivedAmount": 5_000_000, "creditedAmount": 5_000_000,
                "paymentMethod": "trader", "sequence": sequence},
        });
        let now = SystemClock.now().secs() + off_secs;
        let headers = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", "recharge-exam/1".to_owned()),
            ("webhook-id", format!("msg_exam{}{number:02}{sequence:02}", self.run)),
            ("webhook-timestamp", now.to_string()),
        ];
        let mut delivery = Delivery { headers, body: body.to_string() };
        let signature = delivery.signature(&self.secret);
        delivery.headers.push(("webhook-signature", signature));
        delivery
    }

    async fn send(&self, delivery: &Delivery) -> Result<u16, String> {
        self.send_in(delivery, 1).await
    }

    async fn send_in(&self, delivery: &Delivery, pieces: usize) -> Result<u16, String> {
        let sent = self.exchange(delivery, pieces);
        timeout(DEADLINE, sent).await.unwrap_or_else(|_| Err("no answer in 20 s".to_owned()))
    }

    async fn connect(&self) -> Result<TcpStream, String> {
        let host = self.uri.host().unwrap_or("").trim_matches(['[', ']']);
        let port = self.uri.port_u16().unwrap_or(80);
        TcpStream::connect((host, port)).await.map_err(|error| error.to_string())
    }

    async fn exchange(&self, delivery: &Delivery, pieces: usize) -> Result<u16, String> {
        let text = |error: std::io::Error| error.to_string();
        let mut stream = self.connect().await?;
        let message = self.message(delivery);
        let piece = message.len().div_ceil(pieces);
        for (number, piece) in message.as_bytes().chunks(piece).enumerate() {
            if number > 0 {
                sleep(PIECE_EVERY).await;
            }
            stream.write_all(piece).await.map_err(text)?;
        }
        let mut head = Vec::new();
        while !head.windows(4).any(|end| end == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
            let mut some = [0; 1_024];
            let read = stream.read(&mut some).await.map_err(text)?;
            if read == 0 {
                break;
            }
            head.extend_from_slice(&some[..read]);
        }
        let head = String::from_utf8_lossy(&head);
        let status = head.strip_prefix("HTTP/1.").and_then(|rest| rest.get(2..5));
        status.and_then(|digits| digits.parse().ok()).ok_or_else(|| "no HTTP answer".to_owned())
    }

    fn message(&self, delivery: &Delivery) -> String {
        let path = self.uri.path_and_query().map_or("/", |path| path.as_str());
        let host = self.uri.authority().map_or("", |authority| authority.as_str());
        let length = delivery.body.len();
        let mut message = format!(
            "POST {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\ncontent-length: {length}\r\n"
        );
        for (name, value) in &delivery.headers {
            let _ = write!(message, "{name}: {value}\r\n");
        }
        message + "\r\n" + &delivery.body
    }

    async fn valid(&self) -> Grade {
        let answers = vec![self.send(&self.delivery(1, 1, 0)).await];
        taken("valid", "an event as it comes", answers)
    }

    async fn duplicate(&self) -> Grade {
        let delivery = self.delivery(2, 1, 0);
        let answers = vec![self.send(&delivery).await, self.send(&delivery).await];
        taken("duplicate", "the same delivery twice: taken, and counted once", answers)
    }

    async fn reordered(&self) -> Grade {
        let later = self.send(&self.delivery(3, 2, 0)).await;
        let earlier = self.send(&self.delivery(3, 1, 0)).await;
        taken(
            "reordered",
            "sequence 2 before sequence 1: taken, and 2 stands",
            vec![later, earlier],
        )
    }

    async fn rotation(&self) -> Grade {
        let mut delivery = self.delivery(4, 1, 0);
        let other = delivery.signature(OTHER_SECRET);
        let signatures = format!("{other} {}", delivery.get("webhook-signature"));
        delivery.set("webhook-signature", &signatures);
        let mut turned = self.delivery(4, 2, 0);
        let other = turned.signature(OTHER_SECRET);
        let signatures = format!("{} {other}", turned.get("webhook-signature"));
        turned.set("webhook-signature", &signatures);
        let answers = vec![self.send(&delivery).await, self.send(&turned).await];
        taken("rotation", "two signatures, of an old and a new secret: one must fit", answers)
    }

    async fn slow(&self) -> Grade {
        let answers = vec![self.send_in(&self.delivery(5, 1, 0), PIECES).await];
        taken("slow", "sent in ten pieces over a second", answers)
    }

    /// As after a 5xx or no answer: first cut off in the middle, then whole, with a new time and signature.
    async fn retried(&self) -> Grade {
        let first = self.delivery(6, 1, -60);
        if let Ok(mut stream) = self.connect().await {
            let message = self.message(&first);
            let half = &message.as_bytes()[..message.len() - first.body.len() / 2];
            let _ = stream.write_all(half).await;
        }
        let answers = vec![self.send(&first).await, self.send(&self.delivery(6, 1, 0)).await];
        taken("retried", "cut off, then again and again under one id, as after a 5xx", answers)
    }

    async fn unsigned(&self) -> Grade {
        let mut answers = Vec::new();
        for name in ["webhook-id", "webhook-timestamp", "webhook-signature"] {
            let mut delivery = self.delivery(7, 1, 0);
            delivery.headers.retain(|(header, _)| *header != name);
            answers.push(self.send(&delivery).await);
        }
        refused("missing headers", "without id, without timestamp, without signature", answers)
    }

    async fn aged(&self, name: &'static str, about: &'static str, off_secs: i64) -> Grade {
        refused(name, about, vec![self.send(&self.delivery(8, 1, off_secs)).await])
    }

    async fn forged(
        &self,
        name: &'static str,
        about: &'static str,
        change: impl FnOnce(&mut Delivery),
    ) -> Grade {
        let mut delivery = self.delivery(9, 1, 0);
        change(&mut delivery);
        refused(name, about, vec![self.send(&delivery).await])
    }
}

impl Delivery {
    fn get(&self, name: &str) -> &str {
        self.headers.iter().find(|(header, _)| *header == name).map_or("", |(_, value)| value)
    }

    fn set(&mut self, name: &'static str, value: &str) {
        self.headers.retain(|(header, _)| *header != name);
        self.headers.push((name, value.to_owned()));
    }

    fn signature(&self, secret: &str) -> String {
        let content =
            format!("{}.{}.{}", self.get("webhook-id"), self.get("webhook-timestamp"), self.body);
        let mac = key(secret).ok().and_then(|key| Hmac::<Sha256>::new_from_slice(&key).ok());
        let mac = mac.map(|mac| base64::encode(mac.chain_update(content).finalize().into_bytes()));
        format!("v1,{}", mac.unwrap_or_default())
    }
}

fn key(secret: &str) -> Result<Vec<u8>, String> {
    let key = secret.strip_prefix("whsec_").and_then(|text| base64::decode(text).ok());
    key.ok_or_else(|| "a secret is whsec_ and base64".to_owned())
}

fn taken(name: &'static str, about: &'static str, answers: Vec<Result<u16, String>>) -> Grade {
    Grade { name, about, wanted: Wanted::Taken, answers }
}

fn refused(name: &'static str, about: &'static str, answers: Vec<Result<u16, String>>) -> Grade {
    Grade { name, about, wanted: Wanted::Refused, answers }
}

#[expect(clippy::disallowed_methods, reason = "ids that no exam has used")]
fn run_id() -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    (0..8).map(|_| char::from(DIGITS[fastrand::usize(..DIGITS.len())])).collect()
}

/// The table of all grades, and whether every exercise was passed.
pub fn table(grades: &[Grade]) -> (String, bool) {
    let mut table = String::new();
    for grade in grades {
        let Grade { name, about, wanted, answers } = grade;
        let wanted = if *wanted == Wanted::Taken { "2xx" } else { "4xx" };
        let answer = |answer: &Result<u16, String>| match answer {
            Ok(status) => status.to_string(),
            Err(error) => error.clone(),
        };
        let answers: Vec<String> = answers.iter().map(answer).collect();
        let answers = answers.join(" ");
        let mark = if grade.passed() { "ok  " } else { "FAIL" };
        let _ = writeln!(table, "{mark}  {name:<16} {wanted}  {answers:<12} {about}");
    }
    let passed = grades.iter().filter(|grade| grade.passed()).count();
    let _ = write!(table, "{passed} of {} passed", grades.len());
    (table, passed == grades.len())
}
