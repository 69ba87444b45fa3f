//! What DynamoDB charged, read from `ConsumedCapacity` in its answers.
//!
//! Units come in halves (an eventually consistent read of one block costs half a unit), so they are
//! counted in halves and never held in a float.

use std::collections::BTreeMap;
use std::fmt;

use aws_smithy_runtime_api::client::orchestrator::HttpResponse;
use serde_json::Value;

/// An exact number of capacity units.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Units {
    halves: u64,
}

impl Units {
    /// This many whole units.
    pub const fn whole(units: u64) -> Units {
        Units { halves: units * 2 }
    }

    /// This many half units.
    pub const fn halves(halves: u64) -> Units {
        Units { halves }
    }

    /// The number in half units.
    pub const fn in_halves(self) -> u64 {
        self.halves
    }

    fn read(value: &Value) -> Units {
        let text = value.as_number().map(ToString::to_string).unwrap_or_default();
        let (whole, fraction) = text.split_once('.').unwrap_or((&text, "0"));
        let half = u64::from(fraction.starts_with('5'));
        Units { halves: whole.parse::<u64>().unwrap_or(0) * 2 + half }
    }

    fn add(&mut self, other: Units) {
        self.halves += other.halves;
    }
}

impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.halves / 2, if self.halves % 2 == 1 { ".5" } else { "" })
    }
}

/// What one call, or a run, was charged. All zero unless the request asked for its consumption.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Capacity {
    /// Everything.
    pub total: Units,
    /// The share of the tables themselves; only with `ReturnConsumedCapacity=INDEXES`.
    pub table: Units,
    /// The share of each index, by its name; only with `ReturnConsumedCapacity=INDEXES`.
    pub indexes: BTreeMap<String, Units>,
}

impl Capacity {
    /// Reads the answer's `ConsumedCapacity`, one or a list.
    pub fn of(response: &HttpResponse) -> Capacity {
        Capacity::of_body(response.body().bytes().unwrap_or_default())
    }

    fn of_body(body: &[u8]) -> Capacity {
        let mut capacity = Capacity::default();
        let answer: Value = serde_json::from_slice(body).unwrap_or_default();
        match &answer["ConsumedCapacity"] {
            Value::Array(tables) => tables.iter().for_each(|table| capacity.add_table(table)),
            Value::Object(_) => capacity.add_table(&answer["ConsumedCapacity"]),
            _ => {}
        }
        capacity
    }

    fn add_table(&mut self, table: &Value) {
        self.total.add(Units::read(&table["CapacityUnits"]));
        self.table.add(Units::read(&table["Table"]["CapacityUnits"]));
        for kind in ["GlobalSecondaryIndexes", "LocalSecondaryIndexes"] {
            for (name, index) in table[kind].as_object().into_iter().flatten() {
                let units = Units::read(&index["CapacityUnits"]);
                self.indexes.entry(name.clone()).or_default().add(units);
            }
        }
    }

    /// Adds another charge to this one.
    pub fn add(&mut self, other: &Capacity) {
        self.total.add(other.total);
        self.table.add(other.table);
        for (name, units) in &other.indexes {
            self.indexes.entry(name.clone()).or_default().add(*units);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_units_survive_and_lists_are_summed() {
        let body = br#"{"ConsumedCapacity":[
            {"TableName":"a","CapacityUnits":4.0,"Table":{"CapacityUnits":2.0},
             "GlobalSecondaryIndexes":{"due":{"CapacityUnits":2.0}}},
            {"TableName":"b","CapacityUnits":0.5,"Table":{"CapacityUnits":0.5}}]}"#;
        let capacity = Capacity::of_body(body);
        assert_eq!(capacity.total, Units::halves(9));
        assert_eq!(capacity.total.to_string(), "4.5");
        assert_eq!(capacity.table, Units::halves(5));
        assert_eq!(capacity.indexes["due"], Units::whole(2));
    }
}
