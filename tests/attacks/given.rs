//! The start situation: orders that are there before the attack, in the states that the case names.

use serde_json::{Value, json};

use crate::case::{NotUnderstood, only, text_of};
use crate::names::mark;
use crate::queue;
use crate::scene::{Owner, Scene, party};

const ORDER: [&str; 8] =
    ["id", "merchant", "user", "amount", "state", "provider", "provider_error", "paid"];

impl Scene<'_> {
    /// What the case says was there before.
    pub async fn set_given(&self, given: &Value) -> Result<(), NotUnderstood> {
        only("given", given, &["order", "orders", "note"])?;
        match &given["order"] {
            Value::Null => {}
            Value::Object(_) => {
                let order = self.give_order(&given["order"]).await?;
                *self.order.borrow_mut() = order;
            }
            other => return Err(NotUnderstood(format!("given {other}"))),
        }
        match &given["orders"] {
            Value::Null => {}
            Value::String(text) => {
                let unknown = || NotUnderstood(format!("given {text}"));
                let (count, state) = text.split_once(' ').ok_or_else(unknown)?;
                let count: usize = count.parse().map_err(|_| unknown())?;
                let order = json!({"state": state.to_uppercase()});
                for _ in 0..count {
                    self.give_order(&order).await?;
                }
            }
            Value::Array(orders) => {
                for order in orders {
                    let made = self.give_order(order).await?;
                    if let Some(name) = order["id"].as_str() {
                        self.call(format!("order:{name}"), made);
                    }
                }
            }
            other => return Err(NotUnderstood(format!("given {other}"))),
        }
        *self.before.borrow_mut() = self.counts();
        Ok(())
    }

    /// An order as `given` describes it, of merchant A's user u_1001 unless it says otherwise; its id.
    pub async fn give_order(&self, given: &Value) -> Result<String, NotUnderstood> {
        only("given order", given, &ORDER)?;
        let unknown = |what: &str| NotUnderstood(format!("given {what} {}", given[what]));
        let method = match given["provider"].as_str() {
            None | Some("P1") => "test",
            Some("P2") => "p2",
            Some("P3") => "p3",
            Some(_) => return Err(unknown("provider")),
        };
        let merchant = given["merchant"].as_str().unwrap_or("A");
        let owner = party(merchant).ok_or_else(|| unknown("merchant"))?;
        let user = given["user"].as_str().unwrap_or("u_1001");
        mark(&format!("{merchant}/{user}")).ok_or_else(|| unknown("user"))?;
        let amount = match &given["amount"] {
            Value::Null => 5_000,
            amount => amount.as_i64().ok_or_else(|| unknown("amount"))?,
        };
        let body = json!({
            "userId": user, "amount": amount, "currency": "USD", "paymentMethod": method,
            "idempotencyKey": format!("given-{}", self.next()),
            "callbackUrl": "https://hooks.merchant-a.example/recharge",
        });
        let fails = given["state"] == "FAILED";
        if given.get("provider_error").is_some() && !fails {
            return Err(unknown("provider_error"));
        }
        let refusal = given["provider_error"].as_str().unwrap_or("refused").to_owned();
        self.standard.reject(fails.then_some(refusal));
        let request = self.signed(merchant, ("POST", "/recharges"), &body.to_string());
        let created = self.send(&request).await;
        self.standard.reject(None);
        let order = text_of(&created.json["orderId"]);
        assert!(created.status == 201 && !order.is_empty(), "{}", created.text);
        self.own(&order, Owner { merchant: owner.id, user: user.to_owned(), method });
        self.bring(&order, given, &text_of(&created.json["status"])).await?;
        Ok(order)
    }

    /// Brings an order that was just made to where `given` says that it is.
    async fn bring(&self, order: &str, given: &Value, status: &str) -> Result<(), NotUnderstood> {
        let unknown = |what: &str| NotUnderstood(format!("given {what} {}", given[what]));
        match given["state"].as_str() {
            None | Some("PENDING") => {}
            Some("SUCCESS") => {
                let amount = given["amount"].as_i64().unwrap_or(5_000);
                queue::pay(self, order, amount.into()).await;
            }
            // Less than was asked for is a matter for a person.
            Some("REVIEW") => queue::pay(self, order, 1).await,
            Some("EXPIRED") => {
                self.world.pass(1_801).await;
                self.world.stack.poll().await.unwrap();
            }
            Some("FAILED") if status == "FAILED" => {}
            Some("CANCELLED") => {
                let merchant = given["merchant"].as_str().unwrap_or("A");
                let path = format!("/recharges/{order}/cancel");
                let cancelled = self.send(&self.signed(merchant, ("POST", &path), "")).await;
                assert_eq!(cancelled.status, 200, "{}", cancelled.text);
            }
            Some(_) => return Err(unknown("state")),
        }
        if let Some(wanted) = given["state"].as_str().filter(|wanted| *wanted != "PENDING") {
            let books = self.books();
            let row = books.orders.iter().find(|row| row.id == order);
            if row.is_none_or(|row| row.state != wanted) {
                return Err(unknown("state"));
            }
        }
        match &given["paid"] {
            Value::Null | Value::Bool(false) => Ok(()),
            // The provider has the money; we have not heard of it.
            Value::Bool(true) if self.owner(order).method == "test" => {
                let truth = json!({"status": "SUCCESS", "amount": given["amount"].as_i64()
                    .unwrap_or(5_000), "currency": "USD", "providerTxnId": format!("txn_{order}")});
                self.standard.set_paid(order, truth);
                Ok(())
            }
            // The others have no query to say so.
            Value::Bool(true) => Ok(()),
            _ => Err(unknown("paid")),
        }
    }

    /// Whether the order that `{{order}}` means is with a provider that has no query.
    pub fn is_legacy(&self) -> bool {
        self.owner(&self.order.borrow()).method != "test"
    }
}
