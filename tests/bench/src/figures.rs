//! Figures in whole nanoseconds, bytes and hundredths: how they are summed up and written. No floats.

/// The value below which `percent` of a hundred lie; nearest rank. 0 without values.
pub(crate) fn percentile(values: &[u64], percent: usize) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0)
}

/// Nanoseconds as milliseconds: three digits that matter.
pub(crate) fn ms(nanos: u64) -> String {
    let micros = nanos.div_ceil(500) / 2;
    match micros {
        0..10_000 => format!("{}.{:02}", micros / 1_000, micros % 1_000 / 10),
        10_000..100_000 => format!("{}.{}", micros / 1_000, micros % 1_000 / 100),
        _ => format!("{}", micros / 1_000),
    }
}

/// `part` of `whole` in hundredths.
pub(crate) fn ratio(part: u64, whole: u64) -> String {
    let hundredths = part.saturating_mul(100) / whole.max(1);
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// A table in markdown: the first row is the head, the first column is of words.
pub(crate) fn table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (number, row) in rows.iter().enumerate() {
        text.push_str(&format!("| {} |\n", row.join(" | ")));
        if number == 0 {
            let rule = |column| if column == 0 { "---" } else { "---:" };
            let rules: Vec<&str> = (0..row.len()).map(rule).collect();
            text.push_str(&format!("|{}|\n", rules.join("|")));
        }
    }
    text
}

/// The cells of a row.
pub(crate) fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_in_three_digits() {
        let times = [(0, "0.00"), (271_400, "0.27"), (6_049_000, "6.04"), (12_349_000, "12.3")];
        for (nanos, text) in times {
            assert_eq!(ms(nanos), text);
        }
        assert_eq!(ms(123_456_789), "123");
        assert_eq!(ratio(3, 2), "1.50");
    }

    #[test]
    fn a_percentile_is_one_of_the_values() {
        let values = [5, 1, 4, 2, 3];
        assert_eq!((percentile(&values, 50), percentile(&values, 99)), (3, 5));
        assert_eq!((percentile(&values, 1), percentile(&[], 50)), (1, 0));
    }
}
