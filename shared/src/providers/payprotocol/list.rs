//! The provider's list of recharges. Its pages move while new ones arrive, so a reading counts only if it
//! found as many as the provider says there are, and that number stood still. A list that has a recharge more than once
//! looks as if one had been pushed off: it counts if it is the same twice, so that one such recharge hides no other.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::PayProtocol;
use super::record::{self, Record, Status};
use super::wire::{Call, LIST_BYTES_MAX, Reply};
use crate::domain::evidence::bounded;
use crate::domain::{Evidence, EvidenceKind, OrderId, Source, Timestamp};
use crate::providers::Answer;

/// How often the list is read before there is no answer.
const READINGS_MAX: u32 = 3;
/// More pages than that are no window that anybody should ask for.
const PAGES_MAX: u32 = 200;

/// So many unreadable records are put aside by themselves, without a readable one beside them.
const UNREADABLE_MAX: usize = 3;

/// So many ids of recharges that are listed more than once are told.
const REPEATED_TOLD: usize = 5;

/// Bytes of one reading that are kept, some eighty thousand records: a list that says more would take the poller's memory
/// from all other providers.
const KEPT_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What became of one reading.
enum Reading {
    /// Everything that is listed.
    Complete(Listed),
    /// As many rows as there are, of fewer recharges: that, or one was pushed off meanwhile.
    Repeated(Listed),
    /// Something arrived meanwhile.
    Moved,
    /// No reading.
    Failed(Answer<Vec<Evidence>>),
}

/// One page.
struct Page {
    count: u64,
    records: Vec<Result<Record, Unreadable>>,
}

/// What is listed and cannot be read: its id, if that can be, and how it is written.
struct Unreadable {
    id: Option<i32>,
    text: String,
}

impl Unreadable {
    /// The payment's id, or one that only the same bytes have; `times` says how often they were listed before.
    fn payment_id(&self, times: usize) -> String {
        let digest = || hex::encode(&Sha256::digest(&self.text)[..16]);
        match (self.id, times) {
            (Some(id), _) => id.to_string(),
            (None, 0) => format!("unreadable-{}", digest()),
            (None, times) => format!("unreadable-{}-{times}", digest()),
        }
    }
}

#[derive(Default, PartialEq, Eq)]
struct Listed {
    /// By their ids.
    records: BTreeMap<i32, Record>,
    /// By their payments' ids, all that is said of each.
    unreadable: BTreeMap<String, BTreeSet<String>>,
    /// How often ids were listed beyond the first time.
    repeated: BTreeMap<i32, u64>,
}

impl Listed {
    fn len(&self) -> u64 {
        (self.records.len() + self.unreadable.len()) as u64
    }

    fn rows(&self) -> u64 {
        self.len() + self.repeated.values().sum::<u64>()
    }

    fn add(&mut self, record: Record) {
        let id = record.id;
        if let Some(texts) = self.unreadable.get_mut(&id.to_string()) {
            *self.repeated.entry(id).or_default() += 1;
            texts.insert(record.raw());
            return;
        }
        let Some(known) = self.records.remove(&id) else {
            self.records.insert(id, record);
            return;
        };
        *self.repeated.entry(id).or_default() += 1;
        // What is pending is no word against what came of it.
        if known == record || record.status() == Status::Pending {
            self.records.insert(id, known);
        } else if known.status() == Status::Pending {
            self.records.insert(id, record);
        } else {
            // Nobody can say which of them is so: together they are what people look at.
            let texts = BTreeSet::from([known.raw(), record.raw()]);
            self.unreadable.insert(id.to_string(), texts);
        }
    }

    fn add_unreadable(&mut self, bad: Unreadable, times: usize) {
        let texts = self.unreadable.entry(bad.payment_id(times)).or_default();
        let known = bad.id.and_then(|id| self.records.remove(&id));
        if let Some(id) = bad.id.filter(|_| known.is_some() || !texts.is_empty()) {
            *self.repeated.entry(id).or_default() += 1;
        }
        texts.extend(known.map(|known| known.raw()));
        texts.insert(bad.text);
    }
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
        let mut before = None;
        for _ in 0..READINGS_MAX {
            match self.reading(window, (now, started)).await {
                Reading::Complete(listed) => return self.said(listed, now),
                Reading::Repeated(listed) if before.as_ref() == Some(&listed) => {
                    return self.said(listed, now);
                }
                Reading::Repeated(listed) => before = Some(listed),
                Reading::Moved => before = None,
                Reading::Failed(answer) => return answer,
            }
        }
        Answer::Unknown("the list does not stand still".to_owned())
    }

    fn said(&self, listed: Listed, now: Timestamp) -> Answer<Vec<Evidence>> {
        // Many, and nothing else: those are no bad records, that is another list than the one we know.
        if listed.records.is_empty() && listed.unreadable.len() > UNREADABLE_MAX {
            return Answer::Unknown("an unreadable list".to_owned());
        }
        if !listed.repeated.is_empty() {
            let provider = self.name.as_str();
            let ids: Vec<i32> = listed.repeated.keys().copied().take(REPEATED_TOLD).collect();
            tracing::error!(provider, ?ids, "recharges are listed more than once");
        }
        let is_final = |record: &&Record| record.status() != Status::Pending;
        let finals = listed.records.values().filter(is_final);
        let said = |record| self.evidence(record, (Source::List, now), Record::digest(record));
        let unread = listed.unreadable.into_iter();
        let unread = unread.map(|(id, texts)| {
            let text = texts.into_iter().collect::<Vec<_>>().join("\n");
            self.unreadable(id, text, now)
        });
        Answer::Done(finals.map(said).chain(unread).collect())
    }

    async fn reading(
        &self,
        window: (Timestamp, Timestamp),
        begun: (Timestamp, Instant),
    ) -> Reading {
        let mut listed = Listed::default();
        let (mut count, mut kept_bytes) = (None, 0);
        let mut same: BTreeMap<String, usize> = BTreeMap::new();
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
                let record = match record {
                    Ok(record) => record,
                    Err(bad) => {
                        // Once more as the key of `same`.
                        kept_bytes += 2 * bad.text.len();
                        let times = same.entry(bad.text.clone()).or_default();
                        *times += 1;
                        listed.add_unreadable(bad, *times - 1);
                        continue;
                    }
                };
                kept_bytes += record.bytes();
                listed.add(record);
            }
            if kept_bytes > KEPT_BYTES_MAX {
                return Reading::Failed(Answer::Declined("the list is too large".to_owned()));
            }
            if listed.len() == page.count {
                return Reading::Complete(listed);
            }
            if is_last && listed.rows() == page.count {
                return Reading::Repeated(listed);
            }
            if is_last || listed.len() > page.count {
                return Reading::Moved;
            }
        }
        Reading::Failed(Answer::Declined("the list has too many pages".to_owned()))
    }

    /// What nobody can read is put aside for a person: it keeps nothing else from being found.
    fn unreadable(&self, payment_id: String, raw: String, now: Timestamp) -> Evidence {
        let (provider, account) = (self.name.clone(), self.settings.account().to_owned());
        tracing::error!(%provider, payment_id, "a listed recharge cannot be read");
        let digest = Sha256::digest(&raw).into();
        Evidence {
            order_id: Some(OrderId::of_payment(&provider, &account, &payment_id)),
            provider,
            account,
            payment_id,
            deposit: None,
            transaction_id: None,
            user_mark: None,
            kind: EvidenceKind::Unrecognised,
            dust: None,
            source: Source::List,
            stale: false,
            observed_at: now,
            digest,
            raw: bounded(raw),
        }
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

/// Nothing is left out silently, not even what is no recharge.
fn page_of(members: &Map<String, Value>) -> Result<Page, &'static str> {
    let count = members.get("count").and_then(Value::as_u64).ok_or("a page without its count")?;
    let listed = match members.get("list") {
        Some(Value::Array(listed)) => listed.as_slice(),
        None | Some(Value::Null) => &[],
        Some(_) => return Err("a page without its list"),
    };
    let read = |row: &Value| {
        let members = row.as_object();
        members.and_then(|members| record::read(members).ok()).ok_or_else(|| Unreadable {
            id: members.and_then(|members| record::integer(members, "rechargeId").ok()),
            text: row.to_string(),
        })
    };
    Ok(Page { count, records: listed.iter().map(read).collect() })
}
