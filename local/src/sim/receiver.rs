//! A merchant's receiver without a socket, for deterministic runs: takes notifications, or does whatever
//! else receivers do.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use recharge_shared::app::notify::{Deliver, Delivered, Notification};

/// How long an attempt may take altogether.
const DEADLINE: Duration = Duration::from_secs(20);

/// What a receiver does with what it gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// Answers with a status and a body.
    Answers(u16, String),
    /// The same, so long after it was asked.
    Slowly(u16, Duration),
    /// Takes the connection and never answers.
    Hangs,
    /// Nobody is there.
    Refuses,
}

/// One notification as it came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Where.
    pub url: String,
    /// What.
    pub notification: Notification,
}

#[derive(Debug, Default)]
struct State {
    manners: BTreeMap<String, Manner>,
    received: Vec<Received>,
}

/// All receivers of all merchants. Clones are the same.
#[derive(Debug, Clone, Default)]
pub struct SimReceiver(Arc<Mutex<State>>);

impl SimReceiver {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on the receiver at URLs that begin with `start` does this; others answer 200.
    pub fn set(&self, start: &str, manner: Manner) {
        self.lock().manners.insert(start.to_owned(), manner);
    }

    /// Everything that reached a receiver, whatever it answered.
    pub fn received(&self) -> Vec<Received> {
        self.lock().received.clone()
    }

    fn manner(&self, url: &str) -> Manner {
        let state = self.lock();
        let found = state.manners.iter().find(|(start, _)| url.starts_with(start.as_str()));
        found.map_or_else(|| Manner::Answers(200, String::new()), |(_, manner)| manner.clone())
    }
}

#[async_trait]
impl Deliver for SimReceiver {
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered {
        let manner = self.manner(url);
        let failed =
            |error: &str| Delivered { status: 0, error: error.to_owned(), retry_after: None };
        if manner == Manner::Refuses {
            return failed("connect");
        }
        let notification = notification.clone();
        self.lock().received.push(Received { url: url.to_owned(), notification });
        match manner {
            Manner::Answers(status, _) => {
                Delivered { status, error: String::new(), retry_after: None }
            }
            Manner::Slowly(status, after) => {
                tokio::time::sleep(after).await;
                Delivered { status, error: String::new(), retry_after: None }
            }
            Manner::Hangs => {
                tokio::time::sleep(DEADLINE).await;
                failed("timeout")
            }
            Manner::Refuses => failed("connect"),
        }
    }
}
