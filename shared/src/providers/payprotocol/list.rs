//! The provider's list of recharges. Its pages move while new ones arrive, so a reading counts only if it
//! found as many as the provider says there are, and that number stood still.

use std::collections::BTreeMap;

use serde_json::{Map, Value};
use tokio::time::Instant;

use super::PayProtocol;
use super::record::{self, Record, Status};
use super::wire::{Call, LIST_BYTES_MAX, Reply};
use crate::domain::{Evidence, Source, Timestamp};
use crate::providers::Answer;

/// How often the list is read before there is no answer.
const READINGS_MAX: u32 = 3;
/// More pages than that are no window that anybody should ask for.
const PAGES_MAX: u32 = 200;

/// What became of one reading.
enum Reading {
    /// Every record, by its id.
    Complete(BTreeMap<i32, Record>),
    /// Something arrived meanwhile.
    Moved,
    /// No reading.
    Failed(Answer<Vec<Evidence>>),
}

/// One page.
struct Page {
    count: u64,
    records: Vec<Record>,
}

impl PayProtocol {
    /// Everything final that was made in `window`, from its start up to its end. Each page is signed as
    /// of its own time: the provider refuses requests that were signed more than a minute ago.
    pub(super) async fn final_records(
        &self,
        window: (Timestamp, Timestamp),
        now: Timestamp,
    ) -> Answer<Vec<Evidence>> {
        let started = Instant::now();
        for _ in 0..READINGS_MAX {
            match self.reading(window, (now, started)).await {
                Reading::Complete(records) => {
                    let is_final = |record: &&Record| record.status() != Status::Pending;
                    let finals = records.values().filter(is_final);
                    let said =
                        |record| self.evidence(record, (Source::List, now), Record::digest(record));
                    return Answer::Done(finals.map(said).collect());
                }
                Reading::Moved => {}
                Reading::Failed(answer) => return answer,
            }
        }
        Answer::Unknown("the list does not stand still".to_owned())
    }

    async fn reading(
        &self,
        window: (Timestamp, Timestamp),
        begun: (Timestamp, Instant),
    ) -> Reading {
        let mut records: BTreeMap<i32, Record> = BTreeMap::new();
        let mut count = None;
        for number in 1..=PAGES_MAX {
            let page = match self.page(window, number, begun).await {
                Ok(page) => page,
                Err(answer) => return Reading::Failed(answer),
            };
            if *count.get_or_insert(page.count) != page.count {
                return Reading::Moved;
            }
            let is_last = page.records.is_empty();
            for record in page.records {
                let id = record.id;
                if records.get(&id).is_some_and(|known| *known != record) {
                    let provider = self.name.as_str();
                    tracing::error!(provider, id, "recharge {id} is listed twice, differently");
                    let why = format!("recharge {id} is listed twice, differently");
                    return Reading::Failed(Answer::Unknown(why));
                }
                records.insert(id, record);
            }
            let found = records.len() as u64;
            if found == page.count {
                return Reading::Complete(records);
            }
            if is_last || found > page.count {
                return Reading::Moved;
            }
        }
        Reading::Failed(Answer::Unknown("the list has too many pages".to_owned()))
    }

    async fn page(
        &self,
        (from, until): (Timestamp, Timestamp),
        number: u32,
        (now, started): (Timestamp, Instant),
    ) -> Result<Page, Answer<Vec<Evidence>>> {
        // Nothing says whether the bounds belong to the window, so each is moved out by a second.
        let (start, end) = ((from.secs() - 1).max(0), until.secs() + 1);
        let numbers = [start.to_string(), end.to_string(), number.to_string()];
        let size = self.settings.page_size.to_string();
        let [start, end, number] = numbers.each_ref().map(String::as_str);
        let query = [("page", number), ("size", &size), ("startTime", start), ("endTime", end)];
        let call = Call {
            answer_bytes_max: LIST_BYTES_MAX,
            ..Call::get("recharge_list", "/recharge/list", &query)
        };
        match self.call(call, now.plus(started.elapsed())).await {
            Reply::Data(Value::Object(members)) => {
                page_of(&members).map_err(|why| Answer::Unknown(why.to_owned()))
            }
            other => Err(other.missing()),
        }
    }
}

/// A record that cannot be read makes the page unreadable: nothing is left out silently.
fn page_of(members: &Map<String, Value>) -> Result<Page, &'static str> {
    let count = members.get("count").and_then(Value::as_u64).ok_or("a page without its count")?;
    let listed = match members.get("list") {
        Some(Value::Array(listed)) => listed.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Err("a page without its list"),
    };
    let read = |row: &Value| row.as_object().and_then(|members| record::read(members).ok());
    let records = listed.iter().map(read).collect::<Option<Vec<_>>>();
    Ok(Page { count, records: records.ok_or("an unreadable recharge in the list")? })
}
