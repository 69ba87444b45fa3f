//! When a notification is tried again: thirteen attempts over more than three days, ever further apart,
//! each a little off the plan so that a receiver that comes back is not met by all at once.

use std::time::Duration;

use super::hash::digest;

/// Between the attempts, in minutes.
const PLAN_MINUTES: [u64; 12] = [1, 5, 15, 30, 60, 120, 240, 480, 720, 960, 1_440, 1_440];

/// The longest wait that a receiver may ask for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// How many attempts a notification has.
pub const ATTEMPTS_MAX: usize = PLAN_MINUTES.len() + 1;

/// The pause after the attempt number `made`, from 1; `None` after the last. `retry_after` is what the
/// receiver asked for: it may make the pause longer, never shorter.
pub fn pause_after(made: usize, id: &str, retry_after: Option<Duration>) -> Option<Duration> {
    let minutes = *PLAN_MINUTES.get(made.checked_sub(1)?)?;
    let planned = Duration::from_secs(minutes * 60);
    // Up to a fifth more, the same for the same notification and attempt.
    let spread = digest("recharge/retry/v1", &[id.as_bytes(), &made.to_be_bytes()])[0];
    let planned = planned + planned / 5 * u32::from(spread) / 255;
    Some(planned.max(retry_after.unwrap_or_default().min(RETRY_AFTER_MAX)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_go_on_for_three_days_and_end() {
        let pauses: Vec<Duration> =
            (1..ATTEMPTS_MAX).map(|made| pause_after(made, "msg_1", None).unwrap()).collect();
        assert!(
            ATTEMPTS_MAX >= 10
                && pauses.iter().sum::<Duration>() >= Duration::from_secs(72 * 3_600)
        );
        assert!(pauses.windows(2).all(|pair| pair[0] <= pair[1] * 12 / 10), "{pauses:?}");
        assert_eq!(pause_after(ATTEMPTS_MAX, "msg_1", None), None);
        assert_eq!(pause_after(0, "msg_1", None), None);
        // A fifth more at most, and some of them almost that.
        let thirds = (0..200).map(|id| pause_after(3, &id.to_string(), None).unwrap().as_secs());
        let (least, most) = thirds.fold((u64::MAX, 0), |(l, m), secs| (l.min(secs), m.max(secs)));
        assert!((900..910).contains(&least) && (1_070..=1_080).contains(&most), "{least} {most}");
    }

    #[test]
    fn a_receiver_may_ask_for_more_time_but_not_for_less_or_for_ever() {
        let asked = |secs| pause_after(1, "msg_1", Some(Duration::from_secs(secs))).unwrap();
        assert_eq!(asked(0), pause_after(1, "msg_1", None).unwrap());
        assert_eq!(asked(600), Duration::from_secs(600));
        assert_eq!(asked(999_999_999), RETRY_AFTER_MAX);
    }
}
