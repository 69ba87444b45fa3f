//! Cursors of lists: a position as text, good only where it was given out. Another merchant's, another
//! list's or an altered cursor reads like any other text that is none.

use crate::domain::hash::digest;

/// The longest cursor that is looked at.
const CURSOR_BYTES_MAX: usize = 1_024;
const CHECK_BYTES: usize = 8;

/// The cursor for `position` in the list that `scope` names: route, merchant, filters.
///
/// The check is no secret: a list is read from its caller's own rows whatever the cursor says,
/// and who opens one looks whether a page can have ended at its position.
pub fn seal(scope: &[&str], position: &str) -> String {
    let mut bytes = check(scope, position).to_vec();
    bytes.extend_from_slice(position.as_bytes());
    hex::encode(bytes)
}

/// The position of a cursor that was given out for the same `scope`.
pub fn open(scope: &[&str], cursor: &str) -> Option<String> {
    if cursor.len() > CURSOR_BYTES_MAX {
        return None;
    }
    let bytes = hex::decode(cursor).ok()?;
    let (found, position) = bytes.split_at_checked(CHECK_BYTES)?;
    let position = std::str::from_utf8(position).ok()?;
    (found == check(scope, position)).then(|| position.to_owned())
}

fn check(scope: &[&str], position: &str) -> [u8; CHECK_BYTES] {
    let fields: Vec<&[u8]> =
        std::iter::once(position).chain(scope.iter().copied()).map(str::as_bytes).collect();
    let mut check = [0; CHECK_BYTES];
    check.copy_from_slice(&digest("recharge/cursor/v1", &fields)[..CHECK_BYTES]);
    check
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_only_where_it_was_given_out() {
        let cursor = seal(&["orders", "m_a", ""], "1700000000000#O#R1");
        let open_in = |scope: &[&str]| open(scope, &cursor);
        assert_eq!(open_in(&["orders", "m_a", ""]).as_deref(), Some("1700000000000#O#R1"));
        assert_eq!(open_in(&["orders", "m_b", ""]), None);
        assert_eq!(open_in(&["ledger", "m_a", ""]), None);
        assert_eq!(open_in(&["orders", "m_a", "u_1"]), None);
        for bad in ["", "zz", "00", &cursor[2..], &"00".repeat(600), &format!("{cursor}00")] {
            assert_eq!(open(&["orders", "m_a", ""], bad), None, "{bad}");
        }
    }
}
