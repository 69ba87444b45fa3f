//! What must have happened at least once in a run of CI's size: a retry that was never needed, a race that was
//! never lost and a reason that was never given prove nothing.

use std::collections::BTreeMap;

/// Points in the code (`sometimes`), transitions, reasons and faults.
pub const EXPECTED: &[&str] = &[
    "address: somebody else is at it",
    "booked: ASIDE",
    "booked: CREDIT",
    "booked: HOLD",
    "booked: REFUND",
    "budget: tried again",
    "budget: used up",
    "cancel: lost the race",
    "create: found the order",
    "create: met its own write",
    "create: out of time at the provider",
    "create: taken on by a retry",
    "fault: answer lost",
    "fault: conflict",
    "fault: crash after",
    "fault: crash before",
    "fault: freeze",
    "fault: late",
    "fault: not sent",
    "fault: request lost",
    "fault: throttle",
    "notice: another copy has done it",
    "notice: another run hands it over",
    "notice: tried again later",
    "order: CANCELLED to REVIEW",
    "order: CANCELLED to SUCCESS",
    "order: CREATED to CANCELLED",
    "order: CREATED to EXPIRED",
    "order: CREATED to FAILED",
    "order: CREATED to PENDING",
    "order: CREATED to SUCCESS",
    "order: EXPIRED to REVIEW",
    "order: EXPIRED to SUCCESS",
    "order: FAILED to REVIEW",
    "order: FAILED to SUCCESS",
    "order: PENDING to CANCELLED",
    "order: PENDING to EXPIRED",
    "order: PENDING to FAILED",
    "order: PENDING to REVIEW",
    "order: PENDING to SUCCESS",
    "order: REVIEW to FAILED",
    "order: REVIEW to SUCCESS",
    "parked: amount_conflict",
    "parked: amount_mismatch",
    "parked: declined_late",
    "parked: incomplete",
    "parked: late",
    "parked: nothing_received",
    "parked: same_transfer",
    "parked: second_payment",
    "parked: stale",
    "parked: unconfirmed",
    "parked: under_review",
    "parked: unknown_order",
    "parked: unlisted_currency",
    "parked: unrecognised",
    "parked: wrong_user",
    "poller: announced what was lost",
    "poller: another has taken the create on",
    "poller: another run has the look",
    "poller: evidence not handed over",
    "poller: expiry lost the race",
    "poller: out of time at the provider",
    "poller: paid at the last moment",
    "queue: a part of a batch sent again",
    "review: APPROVED to CREDITED",
    "review: APPROVED to OPEN",
    "review: APPROVED to REFUND",
    "review: APPROVED to REJECTED",
    "review: OPEN to APPROVED",
    "review: OPEN to PROPOSED",
    "review: PROPOSED to APPROVED",
    "settle: found it done after a race",
    "settle: held what was parked before",
    "settle: lost the race",
    "submit: a repetition was refused",
    "submit: lost the race",
    "submit: not sent",
    "submit: paid before it was written down",
    "submit: somebody was faster than the answer",
    "submit: the provider has it already",
    "submit: unknown",
    "sweep: goes on in the next run",
    "sweep: somebody has moved the cursor",
    "transaction: contended",
    "transaction: contended beside a refusal",
    "webhook: the queue refused",
    "worker: a notice not handed over",
    "worker: announced once more",
    "worker: gave a message up",
    "worker: notices handed over before the batch ended",
    "worker: put a message off",
    "worker: the orders of a batch not read together",
];

/// The expected points that were not reached.
pub fn missed(reached: &BTreeMap<&str, u64>) -> Vec<&'static str> {
    EXPECTED.iter().copied().filter(|point| !reached.contains_key(point)).collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::EXPECTED;

    fn points(dir: &Path, found: &mut Vec<String>) {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                points(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = std::fs::read_to_string(&path).unwrap();
                for call in text.split("sometimes(").skip(1) {
                    let call = call.split(')').next().unwrap();
                    let literals = call.split('"').skip(1).step_by(2);
                    found.extend(literals.map(str::to_owned));
                }
            }
        }
    }

    #[test]
    fn every_point_of_the_code_is_expected() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut found = Vec::new();
        points(&root.join("shared/src"), &mut found);
        points(&root.join("functions"), &mut found);
        assert!(found.len() > 20, "{found:?}");
        let unknown: Vec<_> =
            found.iter().filter(|point| !EXPECTED.contains(&point.as_str())).collect();
        assert_eq!(unknown, Vec::<&String>::new());
    }

    #[test]
    fn the_list_is_in_order_and_each_point_is_in_it_once() {
        assert!(EXPECTED.is_sorted_by(|a, b| a < b));
    }
}
