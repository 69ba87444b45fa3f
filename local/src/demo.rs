//! `cargo run -- demo`: the main job, played in memory over real HTTP, one line a step. Ends with an
//! error as soon as one step does not hold.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::call::{API_KEYS, ApiKey, Client, Reply};
use crate::stack::Stack;
use crate::{out, serve};

const DEMO: ApiKey = API_KEYS[0];
const OTHER: ApiKey = API_KEYS[1];

struct Play {
    client: Client,
    stack: Arc<Stack>,
    step: u32,
}

/// Plays all steps.
pub async fn run() -> Result<(), String> {
    let (url, stack) = serve::in_memory().await?;
    let mut play = Play { client: Client::new(url), stack, step: 0 };
    let order = play.creates_and_replays().await?;
    play.pays_and_credits(&order).await?;
    play.refuses_forgeries(&order).await?;
    play.keeps_merchants_apart(&order).await?;
    play.finds_lost_callbacks().await?;
    play.heals_lost_answers().await?;
    play.credits_late_money().await?;
    play.books_balance().await
}

impl Play {
    fn say(&mut self, what: &str) -> Result<(), String> {
        self.step += 1;
        out::line(&format!("{:>2} ok  {what}", self.step))
    }

    async fn create(&self, body: Value, key: &str) -> Result<Reply, String> {
        self.client.signed(DEMO, ("POST", "/recharges"), &body.to_string(), key).await
    }

    async fn status(&self, order: &str) -> Result<Value, String> {
        let path = format!("/recharges/{order}");
        Ok(self.client.signed(DEMO, ("GET", &path), "", "").await?.json)
    }

    async fn balance(&self, user: &str) -> Result<i64, String> {
        let path = format!("/users/{user}/balances");
        let reply = self.client.signed(DEMO, ("GET", &path), "", "").await?;
        Ok(reply.json["balances"][0]["amount"].as_i64().unwrap_or(0))
    }

    async fn creates_and_replays(&mut self) -> Result<String, String> {
        let body = json!({"userId": "u_1", "amount": 5_000_000, "currency": "USDT"});
        let first = self.create(body.clone(), "demo-1").await?;
        expect(first.status == 201 && first.json["status"] == "PENDING", "a new order", &first)?;
        let order = first.json["orderId"].as_str().unwrap_or("").to_owned();
        let address = first.json["payment"]["address"].as_str().unwrap_or("").to_owned();
        self.say(&format!("create 5.000000 USDT: 201, order {order}, pay to {address}"))?;

        let again = join_all((0..50).map(|_| self.create(body.clone(), "demo-1"))).await;
        for reply in again {
            let reply = reply?;
            let same = reply.status == 200 && reply.replayed && reply.json == first.json;
            expect(same, "the same answer", &reply)?;
        }
        self.say("the same request 50 times at once: the same order, marked as replayed")?;

        let other = json!({"userId": "u_1", "amount": 9_000_000, "currency": "USDT"});
        let reused = self.create(other, "demo-1").await?;
        expect(reused.status == 422, "422", &reused)?;
        self.say("the same key with another amount: 422 IDEMPOTENCY_KEY_REUSED")?;
        Ok(order)
    }

    async fn pays_and_credits(&mut self, order: &str) -> Result<(), String> {
        let paid = self.client.local("pay", json!({"orderId": order, "times": 100})).await?;
        let acks = paid["callbacks"].as_array().map_or(0, Vec::len);
        let status = self.status(order).await?;
        let held = status["status"] == "SUCCESS" && status["creditedAmount"] == 5_000_000;
        hold(held && acks == 100, "SUCCESS", &status)?;
        self.say("paid; the provider's signed callback came 100 times at once: SUCCESS")?;

        let balance = self.balance("u_1").await?;
        hold(balance == 5_000_000, "one credit", &json!(balance))?;
        let ledger = self.client.signed(DEMO, ("GET", "/users/u_1/ledger"), "", "").await?;
        let entries = ledger.json["entries"].as_array().map_or(0, Vec::len);
        expect(entries == 1, "one entry", &ledger)?;
        self.say("balance 5.000000 USDT, one ledger entry, both legs sum to zero")
    }

    async fn refuses_forgeries(&mut self, order: &str) -> Result<(), String> {
        let now = self.stack.ground.clock.now_ms() / 1_000;
        let forged = format!(
            "amount=990000&appid=APPTEST0001&localusermark=M0000000000000000000000000\
             &orderid={order}&t={now}&sign={}",
            "0".repeat(40)
        );
        let headers = [("content-type", "application/x-www-form-urlencoded")];
        let path = "/recharges/callback/trader";
        let reply = self.client.send(("POST", path), &headers, forged.as_bytes()).await?;
        expect(reply.status == 401, "401", &reply)?;
        hold(self.balance("u_1").await? == 5_000_000, "no credit", &json!(null))?;
        self.say("a callback with a wrong signature: 401, nothing credited")
    }

    async fn keeps_merchants_apart(&mut self, order: &str) -> Result<(), String> {
        let path = format!("/recharges/{order}");
        let reply = self.client.signed(OTHER, ("GET", &path), "", "").await?;
        expect(reply.status == 404, "404", &reply)?;
        self.say("another merchant asks for the order: 404")
    }

    async fn finds_lost_callbacks(&mut self) -> Result<(), String> {
        let body = json!({"userId": "u_2", "amount": 7_000_000, "currency": "USDT"});
        let order = self.create(body, "demo-2").await?;
        let order = order.json["orderId"].as_str().unwrap_or("").to_owned();
        self.client.local("pay", json!({"orderId": order, "silent": true})).await?;
        for _ in 0..2 {
            self.client.local("poll", json!({})).await?;
        }
        let status = self.status(&order).await?;
        hold(status["status"] == "SUCCESS", "SUCCESS", &status)?;
        self.say("paid, callback lost: the poller asked the provider and credited 7.000000 USDT")
    }

    async fn heals_lost_answers(&mut self) -> Result<(), String> {
        let before = self.client.local("state", Value::Null).await?["providerOrders"].clone();
        self.client.local("provider/trader", json!({"mode": "lost_answer"})).await?;
        let body = json!({"userId": "u_1", "amount": 3_000_000, "currency": "USDT"});
        let created = self.create(body, "demo-3").await?;
        let held = created.status == 201 && created.json["status"] == "CREATED";
        expect(held, "201 CREATED", &created)?;
        self.client.local("provider/trader", json!({"mode": "ok"})).await?;
        for _ in 0..2 {
            self.client.local("poll", json!({})).await?;
        }
        let order = created.json["orderId"].as_str().unwrap_or("").to_owned();
        let status = self.status(&order).await?;
        let after = self.client.local("state", Value::Null).await?["providerOrders"].clone();
        let one_more = after.as_i64() == before.as_i64().map(|orders| orders + 1);
        hold(status["status"] == "PENDING" && one_more, "PENDING", &status)?;
        self.say("the provider's answer to a create was lost: 201 CREATED, then PENDING, one order there")
    }

    async fn credits_late_money(&mut self) -> Result<(), String> {
        let body = json!({
            "userId": "u_3", "amount": 1_000_000, "currency": "USDT", "expiresInSeconds": 60
        });
        let order = self.create(body, "demo-4").await?;
        let order = order.json["orderId"].as_str().unwrap_or("").to_owned();
        self.client.local("clock", json!({"advanceSeconds": 120})).await?;
        self.client.local("poll", json!({})).await?;
        let expired = self.status(&order).await?;
        hold(expired["status"] == "EXPIRED", "EXPIRED", &expired)?;
        self.client.local("pay", json!({"orderId": order})).await?;
        let status = self.status(&order).await?;
        let late = status["status"] == "SUCCESS" && status["reason"] == "paid_late";
        hold(late, "SUCCESS paid_late", &status)?;
        self.say("an order ran out and was paid afterwards: EXPIRED, then SUCCESS (paid_late)")
    }

    async fn books_balance(&mut self) -> Result<(), String> {
        self.stack.settle_down(Duration::from_secs(5)).await;
        let state = self.client.local("state", Value::Null).await?;
        let held = state["ledgerBalanced"] == true
            && state["credits"] == 3
            && state["orders"] == 4
            && state["providerOrders"] == 4
            && state["queues"]["settlement"]["dead"] == 0;
        hold(held, "balanced books", &state)?;
        self.say("4 orders, 4 at the provider, 3 credits, books balanced, nothing left over")
    }
}

fn expect(held: bool, wanted: &str, reply: &Reply) -> Result<(), String> {
    hold(held, wanted, &json!({"status": reply.status, "body": reply.json}))
}

fn hold(held: bool, wanted: &str, seen: &Value) -> Result<(), String> {
    if held { Ok(()) } else { Err(format!("expected {wanted}, saw {seen}")) }
}
