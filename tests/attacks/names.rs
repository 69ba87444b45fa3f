//! What the placeholders of a scene mean: users' marks, deposit addresses, orders and reviews by name; and
//! the people who decide about reviews.

use recharge_shared::domain::{EvidenceKind, MerchantId, Money, Review, UserId, UserMark};
use recharge_shared::store::Store;
use serde_json::Value;

use crate::case::{NotUnderstood, fill, fill_all};
use crate::scene::{PARTIES, Party, Scene};

/// The merchant whose people see everybody's reviews.
pub const OPERATOR: &str = recharge_local::stack::OPERATOR;

const fn person(key_id: &'static str, current: &'static str, id: &'static str) -> Party {
    Party { key_id, current, previous: "", retired: "", id }
}

/// Who may decide about reviews, and nothing else.
pub const PEOPLE: [(&str, Party); 5] = [
    ("A.admin", person("admin_a", "person-a-first-secret-0123456789abcdef", "m_a")),
    ("A.admin2", person("admin_a2", "person-a-second-secret-0123456789abcdef", "m_a")),
    ("B.admin", person("admin_b", "person-b-first-secret-0123456789abcdef", "m_b")),
    ("operator", person("operator", "person-o-first-secret-0123456789abcdef", OPERATOR)),
    ("operator2", person("operator2", "person-o-second-secret-0123456789abcdef", OPERATOR)),
];

/// What a user is called at providers; `whose` is like `A/u_1001`.
pub fn mark(whose: &str) -> Option<UserMark> {
    let (merchant, user) = whose.split_once('/')?;
    let party = &PARTIES.iter().find(|(name, _)| *name == merchant)?.1;
    Some(UserMark::derive(&MerchantId::parse(party.id)?, &UserId::parse(user)?))
}

impl Scene<'_> {
    pub fn store(&self) -> Store {
        let aws = &self.world.stack.ground.aws;
        Store::new(aws.dynamodb(aws.http_client(), 3), self.world.stack.names.table.clone())
    }

    pub fn call(&self, name: impl Into<String>, meaning: impl Into<String>) {
        self.names.borrow_mut().insert(name.into(), meaning.into());
    }

    /// The text with all its placeholders replaced.
    pub fn fill(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (name, meaning) in self.names.borrow().iter() {
            text = text.replace(&format!("{{{{{name}}}}}"), meaning);
        }
        fill(&text, &self.order.borrow(), self.now_secs())
    }

    /// Refuses a step with a placeholder that means nothing here.
    pub fn resolves(&self, step: &Value) -> Result<(), NotUnderstood> {
        let step = step.to_string();
        let uncounted = regex_lite::Regex::new(r"\{\{filler:[^{}]*[^0-9{}][^{}]*\}\}").unwrap();
        if let Some(found) = uncounted.find(&step) {
            return Err(NotUnderstood(found.as_str().to_owned()));
        }
        let left = self.fill(&step);
        let placeholder = regex_lite::Regex::new(r"\{\{[a-z_]+(:[^{}]*)?\}\}").unwrap();
        match placeholder.find(&left) {
            Some(found) => Err(NotUnderstood(found.as_str().to_owned())),
            None => Ok(()),
        }
    }

    /// The same for every text inside a value.
    pub fn fill_all(&self, value: &Value) -> Value {
        let mut text = value.to_string();
        // Names stand for plain words, so that the text stays JSON.
        for (name, meaning) in self.names.borrow().iter() {
            text = text.replace(&format!("{{{{{name}}}}}"), meaning);
        }
        let value = serde_json::from_str(&text).unwrap();
        fill_all(&value, &self.order.borrow(), self.now_secs())
    }

    /// Names the users of the fixtures as providers know them.
    pub fn name_users(&self) {
        for (name, _) in &PARTIES {
            let users = self.corpus.fixtures["merchants"][*name]["users"].as_array().cloned();
            for user in users.unwrap_or_default() {
                let whose = format!("{name}/{}", user.as_str().unwrap());
                let meaning = mark(&whose).unwrap().as_str().to_owned();
                self.call(format!("uuid:{whose}"), meaning);
            }
        }
    }

    /// Names the open reviews by their order of appearance and by their payments.
    pub async fn name_reviews(&self) {
        let open = self.store().reviews(None, (false, 100), None).await.unwrap().reviews;
        for review in &open {
            let id = review.id.as_str();
            let known = self.names.borrow().contains_key("review");
            if !known {
                self.call("review", id);
            }
            self.call(format!("review:{}", review.evidence.payment_id), id);
        }
        let fresh = |review: &&Review| matches!(review.evidence.kind, EvidenceKind::Paid(_));
        let waiting = open.iter().filter(fresh).filter_map(|review| review.amount);
        self.open_reviews.set((open.len(), waiting.map(Money::minor).sum()));
    }
}
