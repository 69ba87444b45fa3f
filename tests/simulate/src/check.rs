//! What must have come true once the faults have stopped and some time has passed: nothing lost, everything
//! ended, paid means credited, merchants told. And the last look at everything: the table itself, the
//! provider's truth, the notifications.

use std::collections::{BTreeMap, BTreeSet};

use recharge_local::books::{self, AccountKey};
use recharge_local::call::API_KEYS;
use recharge_shared::app::notify::Notification;
use recharge_shared::domain::{OrderId, OrderState};
use recharge_shared::http::notice_body;
use recharge_shared::store::{NoticeState, Store};
use serde_json::Value;

use crate::actors::{Script, order_of};
use crate::books::{number, text};
use crate::money;
use crate::plan::Mode;
use crate::provider::Provided;
use crate::sim::{Sim, callback_url};

/// What has not come true yet; empty when everybody may go home.
pub fn missing(sim: &Sim, scripts: &[Script]) -> Vec<String> {
    let mut missing = match &sim.money {
        Some(money) => money::check::missing(sim, money),
        None => payments_missing(sim, scripts),
    };
    if sim.plan.mode.polls() {
        missing.extend(notices_missing(sim));
    }
    let (depth, notices) = (sim.world.stack.depth(), sim.world.stack.notification_depth());
    let left = depth.visible + depth.in_flight + notices.visible + notices.in_flight;
    if left > 0 {
        missing.push(format!("{left} messages are left in the queues"));
    }
    if depth.dead + notices.dead > 0 {
        missing.push(format!("{} dead letters are left", depth.dead + notices.dead));
    }
    missing
}

/// I5, I8 and I9 where payments are orders.
fn payments_missing(sim: &Sim, scripts: &[Script]) -> Vec<String> {
    let truth = sim.truth.orders();
    let mut missing = sim.wire.books(|books| {
        let rows: Vec<(String, Value)> =
            books.orders().map(|(id, row)| (id.to_owned(), row.clone())).collect();
        let parked = |id: &str| {
            let stale = |row: &Value| text(row, "paymentId") == id && text(row, "why") == "stale";
            books.rows.iter().any(|(key, row)| key.0.starts_with("K#") && stale(row))
        };
        rows.iter()
            .filter_map(|(id, row)| order_misses(sim, (id, row), truth.get(id), parked(id)))
            .collect::<Vec<_>>()
    });
    if sim.plan.mode.calls_back() {
        // I5: what the provider heard an acknowledgement of has been dealt with; the rest it sends again.
        for script in scripts.iter().filter(|script| script.persists) {
            let Some(order) = order_of(sim, script) else { continue };
            let paid = truth.get(&order).is_some_and(|known| known.paid.is_some());
            if paid && !sim.clients.borrow().acknowledged.contains(&order) {
                missing.push(format!("I5: the callback of {order} is not acknowledged"));
            }
        }
    }
    missing
}

fn order_misses(
    sim: &Sim,
    (id, row): (&str, &Value),
    known: Option<&Provided>,
    is_parked: bool,
) -> Option<String> {
    let state = text(row, "state");
    let Some(paid) = known.and_then(|known| known.paid) else {
        let is_open = ["CREATED", "PENDING"].contains(&state);
        return (is_open && sim.plan.mode.polls()).then(|| format!("I8: {id} is still {state}"));
    };
    let script_can_be_heard = sim.plan.mode.polls() || sim.plan.mode.calls_back();
    let mismatch = sim.plan.is_exact && number(row, "amount") != paid;
    let is_credited = state == "SUCCESS" && number(row, "credited") == paid && !mismatch;
    let is_held =
        state == "REVIEW" && number(row, "received") == paid && number(row, "credited") == 0;
    let may_be_held = mismatch || sim.plan.late_to_review;
    // Without a poller a callback that comes too late to be believed is all there is: a person decides.
    let stale = sim.plan.mode == Mode::NoPoller && is_parked;
    let fine = is_credited || (is_held && may_be_held) || stale;
    (script_can_be_heard && !fine)
        .then(|| format!("I9: {paid} was paid for {id}, which stands as {state}"))
}

/// I10: every committed notice has been delivered or recorded as given up.
fn notices_missing(sim: &Sim) -> Vec<String> {
    const TOLD: [&str; 5] = ["SUCCESS", "FAILED", "EXPIRED", "CANCELLED", "REVIEW"];
    sim.wire.books(|books| {
        let mut missing = Vec::new();
        for (id, row) in books.orders() {
            let history = row["history"]["L"].as_array().cloned().unwrap_or_default();
            let told = history.iter().filter(|step| TOLD.contains(&text(&step["M"], "to"))).count();
            for sequence in 1..=told {
                let key = (format!("N#{id}"), format!("{sequence:05}"));
                let state = books.rows.get(&key).map_or("not tried", |row| text(row, "state"));
                if !["DELIVERED", "GIVEN_UP", "NO_ADDRESS"].contains(&state) {
                    missing.push(format!("I10: notice {sequence} of {id} is {state}"));
                }
            }
        }
        missing
    })
}

/// The last look, past everything that was kept on the way.
pub async fn last_look(sim: &Sim) -> Vec<String> {
    let stack = &sim.world.stack;
    let mut found = Vec::new();
    match books::read(stack.ground.aws.database(), &stack.names.table) {
        Ok(books) => {
            found.extend(books.violations());
            found.extend(match &sim.money {
                Some(money) => money::check::against_truth(sim, money, &books),
                None => against_truth(sim, &books),
            });
        }
        Err(error) => found.push(format!("the table does not read: {error}")),
    }
    found.extend(against_notices(sim).await);
    for (key, times) in &sim.clients.borrow().created {
        if *times > 1 {
            found.push(format!("I6: {key} was answered 201 {times} times"));
        }
    }
    found
}

/// I3, I7 and I9 to the unit: the provider's books beside ours.
fn against_truth(sim: &Sim, books: &books::Books) -> Vec<String> {
    let truth = sim.truth.orders();
    let mut found = Vec::new();
    let ours: BTreeSet<&str> = books.orders.iter().map(|order| order.id.as_str()).collect();
    for id in truth.keys().filter(|id| !ours.contains(id.as_str())) {
        found.push(format!("I7: the provider has {id}, which is no order of ours"));
    }
    if truth.len() != sim.world.trader.provider_orders() {
        let there = sim.world.trader.provider_orders();
        found.push(format!("I7: the provider has {there} orders, its truth {}", truth.len()));
    }
    // What it has taken and not given up it has refused to nobody.
    let is_live = |id: &String| truth.get(id).is_some_and(|known| !known.given_up);
    for order in books.orders.iter().filter(|order| is_live(&order.id)) {
        if order.history.iter().any(|step| step.ends_with(">FAILED")) {
            found.push(format!("I7: {} was told as refused, and the provider has it", order.id));
        }
    }
    let mut wanted: BTreeMap<AccountKey, i128> = BTreeMap::new();
    for credit in &books.credits {
        let paid = truth.get(&credit.order).and_then(|known| known.paid).unwrap_or(0);
        *wanted.entry(credit.account.clone()).or_default() += paid;
    }
    let held: BTreeMap<AccountKey, i128> =
        books.balances.iter().map(|(account, held)| (account.clone(), held.amount)).collect();
    if wanted != held {
        found.push(format!("I3: balances {held:?}, by the provider's truth {wanted:?}"));
    }
    let received: i128 = truth.values().filter_map(|known| known.paid).sum();
    let credited: i128 = held.values().sum();
    if credited > received {
        found.push(format!("I1: {credited} credited, {received} received"));
    }
    found
}

/// I10: what merchants were told is what was committed, one body for one id, at the right merchant's door.
async fn against_notices(sim: &Sim) -> Vec<String> {
    let stack = &sim.world.stack;
    let aws = &stack.ground.aws;
    let store = Store::new(aws.dynamodb(aws.http_client(), 3), stack.names.table.clone());
    let ids: Vec<String> =
        sim.wire.books(|books| books.orders().map(|(id, _)| id.to_owned()).collect());
    let mut found = Vec::new();
    let mut committed = BTreeMap::new();
    for id in ids {
        let Some(id) = OrderId::parse(&id) else { continue };
        let Ok(Some(order)) = store.order(&id).await else {
            found.push(format!("the order {id} does not read"));
            continue;
        };
        if order.state == OrderState::Success && order.payments.is_empty() {
            found.push(format!("I3: {id} is SUCCESS without a payment"));
        }
        for notice in order.notices() {
            let merchant = API_KEYS.iter().position(|key| key.merchant == order.merchant.as_str());
            let url = order.callback_url.clone();
            let url = url.or_else(|| merchant.map(callback_url)).unwrap_or_default();
            committed.insert(notice.id(), (notice_body(&notice), url));
        }
        if let Ok(rows) = store.notices(&id).await {
            let odd = rows.iter().filter(|row| order.notice(row.sequence).is_none());
            found.extend(odd.map(|row| format!("I10: {id} has a row of no notice: {row:?}")));
            let told = rows.iter().filter(|row| row.state == NoticeState::Delivered);
            let received = sim.world.receiver.received();
            for row in told {
                let notice = order.notice(row.sequence).map(|notice| notice.id());
                if !received.iter().any(|r| Some(&r.notification.id) == notice.as_ref()) {
                    found.push(format!("I10: {id}/{} was delivered to nobody", row.sequence));
                }
            }
        }
    }
    for received in sim.world.receiver.received() {
        let Notification { id, body, .. } = received.notification;
        match committed.get(&id) {
            None => found.push(format!("I10: told {id}, which was never committed: {body}")),
            Some((wanted, _)) if *wanted != body => {
                found.push(format!("I10: told {id} with {body}, committed is {wanted}"));
            }
            Some((_, url)) if *url != received.url => {
                found.push(format!("I11: told {id} to {}, not to {url}", received.url));
            }
            Some(_) => {}
        }
    }
    found
}
