//! Batches from the settlement queue: each record decoded and settled by itself, failures reported
//! per record. The orders are read together, and the notices go to their queue together.
//! A record that cannot be handled goes to the dead letters with the reason, after some tries;
//! one whose turn it was while the table was away stays in the queue, however long that takes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_lambda_events::sqs::{BatchItemFailure, SqsBatchResponse, SqsEvent, SqsMessage};
use futures_util::future::{join, join_all};
use lambda_runtime::{Error, LambdaEvent};
use recharge_shared::app::merchants::Merchants;
use recharge_shared::app::notify::news;
use recharge_shared::app::resolve::resolve;
use recharge_shared::app::settle::{Context, Outcome, Policies, Settlement, settle};
use recharge_shared::bug::{self, Bug};
use recharge_shared::clock::Clock;
use recharge_shared::domain::{Mode, Order, OrderId, TraceId};
use recharge_shared::metrics::{self, Metric, Metrics, Stage};
use recharge_shared::providers::Providers;
use recharge_shared::queue::{
    DeadLetters, NotificationQueue, Outgoing, Undecodable, WorkMessage, stage_of,
};
use recharge_shared::sometimes::sometimes;
use recharge_shared::store::{Store, StoreError};
use recharge_shared::xray::{self, TraceHeader};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::timeout;
use tracing::Instrument;

use crate::outbox::{News, hand_over_all};

/// A statement older than this may have been delivered before: messages driven back from the dead letters count
/// their receives anew. The queue's visibility timeout, less what the webhook's clock and this one may be apart.
const FIRST_DELIVERY_WITHIN: Duration = Duration::from_secs(180 - 60);

/// How long all records wait for their orders to be read together.
const TOGETHER_WITHIN: Duration = Duration::from_millis(500);

/// What this function may touch.
#[derive(Debug)]
pub struct Deps {
    /// Orders, payments, balances.
    pub store: Store,
    /// The rules of each provider account.
    pub policies: Policies,
    /// Whether money is real.
    pub mode: Mode,
    /// Where it is deployed: messages of other stages are none of its own.
    pub stage: Stage,
    /// The merchants' own rules.
    pub merchants: Merchants,
    /// Whom to ask before a large amount is credited; only where a rule wants that.
    pub providers: Option<Providers>,
    /// The amount from which two people have to decide together, in whole units of any currency.
    pub two_from: u64,
    /// Where notices go.
    pub notifications: NotificationQueue,
    /// Where messages end that cannot be handled.
    pub dead_letters: DeadLetters,
    /// How often a message that cannot be handled is tried. The queue's own limit is higher: it is for
    /// outages.
    pub tries_max: u32,
    /// Now.
    pub clock: Arc<dyn Clock>,
    /// What is counted and measured.
    pub metrics: Metrics,
}

/// Handles one batch; the answer names exactly the records that must come again.
pub async fn handle(deps: &Deps, event: LambdaEvent<SqsEvent>) -> Result<SqsBatchResponse, Error> {
    let work = batch(deps, &event.payload.records);
    let mut failed = deps.metrics.collect(deps.clock.as_ref(), work).await;
    failed.sort_unstable();
    failed.dedup();
    let mut response = SqsBatchResponse::default();
    for position in failed {
        // Without an identifier the whole batch has to come again: an empty one would delete it all.
        let id = event.payload.records[position].message_id.clone().filter(|id| !id.is_empty());
        let id = id.ok_or_else(|| Error::from("a record without messageId failed"))?;
        let mut failure = BatchItemFailure::default();
        failure.item_identifier = id;
        response.batch_item_failures.push(failure);
    }
    Ok(response)
}

/// Settles the records, and hands over what the merchants must hear of; the positions of those that must
/// come again.
async fn batch(deps: &Deps, records: &[SqsMessage]) -> Vec<usize> {
    // Orders side by side, the records of one order one after the other: they would only race.
    let mut by_order: BTreeMap<String, Vec<Record<'_>>> = BTreeMap::new();
    let mut ids = Vec::new();
    for (position, message) in records.iter().enumerate() {
        let decoded = match stage_of(message).filter(|stage| *stage != deps.stage.as_str()) {
            Some(_) => Err(Undecodable("of another stage")),
            None => WorkMessage::decode(message.body.as_deref().unwrap_or("")),
        };
        let order = match &decoded {
            Ok(WorkMessage::Settlement(decoded)) => decoded.evidence.order_id.clone(),
            _ => None,
        };
        let group = order.as_ref().map_or(position.to_string(), OrderId::to_string);
        by_order.entry(group).or_default().push(Record { position, message, decoded });
        ids.extend(order);
    }
    let mut read = read_together(deps, ids).await;
    let (told, coming) = unbounded_channel();
    let groups: Vec<_> = by_order
        .into_iter()
        .map(|(order, records)| {
            let (read, told) = (read.remove(&order), told.clone());
            one_order(deps, records, read, told)
        })
        .collect();
    // What is handed over ends when the last of them does.
    drop(told);
    let (failed, untold) = join(join_all(groups), hand_over_all(deps, coming)).await;
    failed.into_iter().flatten().chain(untold).collect()
}

/// The orders of a batch in one request: cheaper than one each. What is not found here is read by itself, and
/// says by itself what is wrong.
async fn read_together(deps: &Deps, mut ids: Vec<OrderId>) -> BTreeMap<String, Order> {
    ids.sort_unstable();
    ids.dedup();
    if ids.len() < 2 {
        return BTreeMap::new();
    }
    match timeout(TOGETHER_WITHIN, deps.store.orders(&ids)).await {
        Ok(Ok(read)) => read.into_iter().map(|order| (order.id.to_string(), order)).collect(),
        Ok(Err(_)) | Err(_) => {
            sometimes("worker: the orders of a batch not read together");
            tracing::warn!("the orders of a batch are read one by one");
            BTreeMap::new()
        }
    }
}

struct Record<'a> {
    position: usize,
    message: &'a SqsMessage,
    decoded: Result<WorkMessage, Undecodable>,
}

/// Why a record is not done with.
enum Undone {
    /// Not the message's fault: it comes again.
    NotNow,
    /// It will fail the next time too.
    Hopeless(String),
}

/// Settles the records of one order, whose notices go to `told`; gives the positions of those that must come
/// again. `read` is the order as it was just now, for the first of them.
async fn one_order(
    deps: &Deps,
    records: Vec<Record<'_>>,
    mut read: Option<Order>,
    told: UnboundedSender<Vec<News>>,
) -> Vec<usize> {
    let mut failed = Vec::new();
    for Record { position, message, decoded } in records {
        let settled = match decoded {
            Ok(decoded) => {
                let trace = match &decoded {
                    WorkMessage::Settlement(settlement) => &settlement.trace,
                    WorkMessage::Resolution(resolution) => &resolution.trace,
                };
                let header = TraceHeader::of_message(&message.attributes);
                let xray = header.as_ref().map(TraceHeader::root);
                let span = tracing::error_span!("message", trace = trace.as_str(), xray);
                let work = one(deps, (&decoded, trace), receives(message), read.take());
                xray::under(header, work.instrument(span)).await
            }
            Err(undecodable) => Err(Undone::Hopeless(format!("undecodable: {}", undecodable.0))),
        };
        let given_up = match settled {
            Ok(news) => {
                let news = news.into_iter().map(|message| News { position, message }).collect();
                // Nobody hears: then nobody hands it over, and it comes again.
                if told.send(news).is_err() {
                    failed.push(position);
                }
                continue;
            }
            Err(Undone::NotNow) => false,
            Err(Undone::Hopeless(reason)) => give_up(deps, message, &reason).await,
        };
        if given_up {
            sometimes("worker: gave a message up");
        } else if !bug::is(Bug::M4) {
            sometimes("worker: put a message off");
            failed.push(position);
        }
    }
    failed
}

/// Settles one record; gives what the merchants must hear of.
async fn one(
    deps: &Deps,
    (message, trace): (&WorkMessage, &TraceId),
    receives: u32,
    read: Option<Order>,
) -> Result<Vec<Outgoing>, Undone> {
    let context = Context {
        store: &deps.store,
        policies: &deps.policies,
        merchants: &deps.merchants,
        mode: deps.mode,
        providers: deps.providers.as_ref(),
        clock: deps.clock.as_ref(),
    };
    let (settled, what) = match message {
        WorkMessage::Settlement(message) => {
            let order = message.evidence.order_text();
            (settle(context, message, read).await, format!("settlement message for order {order}"))
        }
        WorkMessage::Resolution(message) => {
            let review = &message.review;
            (
                resolve(context, review, deps.two_from).await,
                format!("decision about review {review}"),
            )
        }
    };
    match settled {
        Ok(settlement) => {
            count(deps, message, &settlement);
            let Settlement { outcome, announce: announced, found } = settlement;
            let reason = match outcome {
                Outcome::Parked(reason) => reason.as_str(),
                _ => "",
            };
            tracing::info!(?outcome, reason, "{what}");
            match outcome {
                Outcome::NotConfirmedYet => return Err(Undone::NotNow),
                Outcome::OtherMode => return Err(other_mode(message)),
                _ => {}
            }
            // A redelivery finds the work done, but perhaps not the announcement.
            // One driven back from the dead letters counts its receives from one; a decision comes rarely, and
            // twice only where something has failed.
            let is_old = match message {
                WorkMessage::Settlement(message) => {
                    let age = deps.clock.now().since(message.evidence.observed_at);
                    age > FIRST_DELIVERY_WITHIN
                }
                WorkMessage::Resolution(_) => true,
            };
            let comes_again = receives > 1 || is_old;
            let again: Vec<_> =
                found.into_iter().filter(|_| comes_again && !bug::is(Bug::M9)).collect();
            if !again.is_empty() && outcome == Outcome::AlreadyDone {
                sometimes("worker: announced once more");
            }
            let messages = announced.into_iter().chain(again);
            Ok(messages.flat_map(|order| news(&order, trace)).map(Outgoing::new).collect())
        }
        Err(error) => {
            metrics::add(Metric::Failures, (None, None), 1);
            tracing::warn!(%error, "{what} put off");
            Err(match error {
                StoreError::Busy(_) => Undone::NotNow,
                StoreError::Damaged(_) => Undone::Hopeless(error.to_string()),
            })
        }
    }
}

/// A true statement waits for a worker in live mode, as long as the queue keeps it; a simulated one is wanted
/// by nobody there.
fn other_mode(message: &WorkMessage) -> Undone {
    match message {
        WorkMessage::Settlement(message) if message.evidence.is_shadow() => {
            Undone::Hopeless("simulated, and this is live mode".to_owned())
        }
        _ => {
            tracing::error!("a live order, and this is shadow mode: left in the queue");
            Undone::NotNow
        }
    }
}

/// What became of a message, and how long a credit took since its order was created: since the deposit was
/// seen, where that makes the order. What people decide about takes as long as they do, and is not timed.
fn count(deps: &Deps, message: &WorkMessage, settlement: &Settlement) {
    let order = settlement.announce.first().or(settlement.found.first());
    let (provider, observed_at) = match message {
        WorkMessage::Settlement(message) => {
            let evidence = &message.evidence;
            (Some(&evidence.provider), Some(evidence.observed_at))
        }
        WorkMessage::Resolution(_) => (order.map(|order| &order.provider), None),
    };
    // Only names of the settings are dimensions.
    let provider = provider.filter(|provider| deps.policies.contains_key(*provider));
    metrics::add(Metric::Settlements, (provider, Some(settlement.outcome.as_str())), 1);
    if let (Outcome::Settled, Some(order), Some(at)) = (settlement.outcome, order, observed_at) {
        let since = at.min(order.created_at);
        metrics::took(Metric::TimeToCredit, (provider, None), order.updated_at.since(since));
    }
}

/// How often the queue has handed the message over.
fn receives(record: &SqsMessage) -> u32 {
    let receives = record.attributes.get("ApproximateReceiveCount");
    receives.and_then(|count| count.parse().ok()).unwrap_or(1)
}

/// On the last try: puts the message aside with the reason. `false` leaves it in the queue.
async fn give_up(deps: &Deps, record: &SqsMessage, reason: &str) -> bool {
    if receives(record) < deps.tries_max {
        return false;
    }
    let message_id = record.message_id.as_deref().unwrap_or("");
    match deps.dead_letters.send(record, reason).await {
        Ok(()) => {
            tracing::error!(message_id, reason, "message {message_id} given up: dead-letter queue");
            true
        }
        Err(error) => {
            tracing::error!(message_id, reason, %error, "message {message_id} not given up");
            false
        }
    }
}
