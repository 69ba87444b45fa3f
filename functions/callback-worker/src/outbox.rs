//! The notices of a batch on their way to their queue: together while the batch is quick, and never held up by
//! a slow record.

use std::collections::BTreeMap;
use std::time::Duration;

use recharge_shared::domain::OrderId;
use recharge_shared::metrics::{self, Metric};
use recharge_shared::queue::Outgoing;
use recharge_shared::sometimes::sometimes;
use recharge_shared::xray::TraceHeader;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::{Instant, timeout_at};

use crate::Deps;

/// How long the notices of the quick records wait for those of the others.
const TOGETHER_WITHIN: Duration = Duration::from_millis(500);

/// What merchants must hear of a record's order; the record comes again if they do not.
pub(crate) struct News {
    /// The record's place in the batch.
    pub(crate) position: usize,
    /// What they must hear.
    pub(crate) message: Outgoing,
}

/// Hands over what comes until no more can come; the positions of the records whose notices the queue does
/// not have.
pub(crate) async fn hand_over_all(
    deps: &Deps,
    mut coming: UnboundedReceiver<Vec<News>>,
) -> Vec<usize> {
    let until = Instant::now() + TOGETHER_WITHIN;
    let (mut failed, mut there) = (Vec::new(), Vec::new());
    loop {
        let more = match timeout_at(until, coming.recv()).await {
            Ok(more) => more,
            Err(_) => {
                if !there.is_empty() {
                    sometimes("worker: notices handed over before the batch ended");
                    failed.extend(hand_over(deps, std::mem::take(&mut there)).await);
                }
                coming.recv().await
            }
        };
        match more {
            Some(news) => there.extend(news),
            None => break,
        }
    }
    failed.extend(hand_over(deps, there).await);
    failed
}

async fn hand_over(deps: &Deps, news: Vec<News>) -> Vec<usize> {
    // Two records of one order bring the same notices; each is sent once.
    let mut wanted: BTreeMap<(OrderId, u32), (Outgoing, Vec<usize>)> = BTreeMap::new();
    for News { position, message } in news {
        let notice = (message.message.order.clone(), message.message.sequence);
        wanted.entry(notice).or_insert_with(|| (message, Vec::new())).1.push(position);
    }
    let (outgoing, positions): (Vec<Outgoing>, Vec<Vec<usize>>) = wanted.into_values().unzip();
    let sent = deps.notifications.send_each(&outgoing).await;
    let mut failed = Vec::new();
    for ((Outgoing { message, header }, positions), sent) in
        outgoing.iter().zip(positions).zip(sent)
    {
        if let Err(error) = sent {
            sometimes("worker: a notice not handed over");
            metrics::add(Metric::Failures, (None, None), 1);
            let (trace, order) = (message.trace.as_str(), message.order.as_str());
            let xray = header.as_ref().map(TraceHeader::root);
            tracing::warn!(trace, xray, order, %error, "notice not handed over yet");
            failed.extend(positions);
        }
    }
    failed
}
