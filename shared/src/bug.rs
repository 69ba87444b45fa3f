//! Bugs that the simulation must find, each a switch in the code that it would spoil. Without the feature
//! `simulate` every switch is the constant `false`, and what stands behind it is not compiled.

use crate::domain::{Money, Order, OrderState, Timestamp};

/// Whether binaries of this build may leave the machine: not when seeded bugs are compiled in, which happens
/// when a function is built together with `tests/simulate`. Their `main.rs` assert it, so that a release
/// build of such a function does not compile. Development builds are let through: editors check everything
/// together.
pub const MAY_SHIP: bool = cfg!(not(feature = "simulate")) || cfg!(debug_assertions);

/// A seeded bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Bug {
    /// Look whether it was credited, then credit without a condition.
    M1 = 1,
    /// Payments are told apart by the event that brought them.
    M2,
    /// The provider hears 2xx although the queue refused.
    M3,
    /// A message is deleted although its work failed.
    M4,
    /// `FAILED` overwrites `SUCCESS`.
    M5,
    /// An order that ran out of time ignores its payment.
    M6,
    /// DynamoDB's request token of ten minutes is the only guard.
    M7,
    /// The provider's order does not have our order's id.
    M8,
    /// Whether a notice was handed over is not found out after a crash.
    M9,
    /// Contended writes are tried again at once and for ever.
    M10,
    /// The answer to a batch spells its key otherwise than Lambda does.
    M11,
    /// A cancelled transaction counts as a duplicate, whatever else was the reason.
    M12,
    /// Expiry writes without a condition.
    M13,
    /// A statement is claimed before the work is done.
    M14,
    /// Amounts are not compared when the poller brings them.
    M15,
}

impl Bug {
    /// Every bug.
    pub const ALL: [Bug; 15] = [
        Bug::M1,
        Bug::M2,
        Bug::M3,
        Bug::M4,
        Bug::M5,
        Bug::M6,
        Bug::M7,
        Bug::M8,
        Bug::M9,
        Bug::M10,
        Bug::M11,
        Bug::M12,
        Bug::M13,
        Bug::M14,
        Bug::M15,
    ];

    /// Reads `M1` to `M15`.
    pub fn parse(text: &str) -> Option<Bug> {
        Bug::ALL.into_iter().find(|bug| format!("{bug:?}") == text)
    }
}

/// Whether `bug` is switched on: never, in this build.
#[cfg(not(feature = "simulate"))]
#[inline(always)]
pub const fn is(_: Bug) -> bool {
    false
}

#[cfg(feature = "simulate")]
static SWITCHED_ON: std::sync::atomic::AtomicU8 = std::sync::atomic::AtomicU8::new(0);

/// Whether `bug` is switched on.
#[cfg(feature = "simulate")]
pub fn is(bug: Bug) -> bool {
    SWITCHED_ON.load(std::sync::atomic::Ordering::Relaxed) == bug as u8
}

/// Switches one bug on, or all off, for the whole process.
#[cfg(feature = "simulate")]
pub fn switch(bug: Option<Bug>) {
    SWITCHED_ON.store(bug.map_or(0, |bug| bug as u8), std::sync::atomic::Ordering::Relaxed);
}

/// The order and the time. With [`Bug::M7`] a settled order as it was before, and when that ended: whoever trusts the
/// request token alone does not look, and sends the same transaction again.
pub fn unsettled(mut order: Option<Order>, now: Timestamp) -> (Option<Order>, Timestamp) {
    let Some(order) = order.take_if(|_| is(Bug::M7)) else { return (order, now) };
    let last = order.history.last().filter(|_| order.state == OrderState::Success);
    let Some((state, at)) = last.map(|last| (last.from, last.at)) else {
        return (Some(order), now);
    };
    let nothing = Money::zero(order.amount.currency());
    let mut before = Order {
        state,
        version: order.version.saturating_sub(1),
        reason: None,
        payments: Vec::new(),
        received: nothing,
        credited: nothing,
        due_at: Some(at),
        ..order
    };
    before.history.pop();
    (Some(before), at)
}
