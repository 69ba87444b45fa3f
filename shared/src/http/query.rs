//! Query strings: known names only, each at most once, every value in its grammar.

use std::collections::BTreeMap;

use aws_smithy_types::date_time::{DateTime, Format};
use lambda_http::Request;

use super::cursor;
use super::error::ApiError;
use crate::app::list_orders::read_position;
use crate::domain::{MerchantId, OrderReference, OrderState, Timestamp, UserId};
use crate::store::{LedgerPage, OrderPosition, ReviewPage};

/// Entries of a page, unless the caller wants fewer or more.
pub const LIMIT_DEFAULT: i32 = 20;
/// The most entries of a page.
pub const LIMIT_MAX: i32 = 100;

/// The parameters of `GET /recharges`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListOrders {
    /// Only this user's.
    pub user: Option<UserId>,
    /// Only in this state.
    pub state: Option<OrderState>,
    /// Only the one with this reference.
    pub reference: Option<OrderReference>,
    /// Only recorded then or later.
    pub from: Option<Timestamp>,
    /// Only recorded before.
    pub to: Option<Timestamp>,
    /// Entries of the page.
    pub limit: i32,
    /// Where to go on.
    pub position: Option<OrderPosition>,
    scope: Vec<String>,
}

/// The parameters of `GET /users/{userId}/ledger`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListLedger {
    /// Entries of the page.
    pub limit: i32,
    /// Where to go on.
    pub position: Option<String>,
    scope: Vec<String>,
}

/// The parameters of `GET /events`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListEvents {
    /// Entries of the page.
    pub limit: i32,
    /// Where to go on.
    pub position: Option<String>,
    scope: Vec<String>,
}

impl ListOrders {
    /// Reads the query of `merchant`'s request.
    pub fn read(request: &Request, merchant: &MerchantId) -> Result<ListOrders, ApiError> {
        const NAMES: [&str; 7] =
            ["userId", "status", "orderReference", "from", "to", "limit", "cursor"];
        let given = Parameters::read(request, &NAMES)?;
        let filters = ["userId", "status", "orderReference", "from", "to"].map(|n| given.text(n));
        let mut scope = vec!["orders".to_owned(), merchant.as_str().to_owned()];
        scope.extend(filters.iter().map(|filter| filter.unwrap_or("").to_owned()));
        let states = OrderState::ALL.map(OrderState::as_str).join(", ");
        let from = given.parsed("from", parse_time, TIME)?;
        let to = given.parsed("to", parse_time, TIME)?;
        let position = |text: &str| {
            let in_range =
                |at| at >= from.unwrap_or(Timestamp::EPOCH) && to.is_none_or(|to| at < to);
            read_position(text).filter(|position| in_range(position.created_at))
        };
        Ok(ListOrders {
            user: given.parsed("userId", UserId::parse, "must be 1 to 64 of [A-Za-z0-9_-]")?,
            state: given.parsed(
                "status",
                OrderState::parse,
                &format!("must be one of {states}"),
            )?,
            reference: given.parsed(
                "orderReference",
                OrderReference::parse,
                "must be 1 to 64 of [A-Za-z0-9._-]",
            )?,
            from,
            to,
            limit: given.limit()?,
            position: given.position("cursor", &scope, position)?,
            scope,
        })
    }

    /// The cursor for the entries after `position`.
    pub fn cursor(&self, position: &str) -> String {
        cursor::seal(&borrowed(&self.scope), position)
    }
}

impl ListLedger {
    /// Reads the query of `merchant`'s request for the ledger of `user`.
    pub fn read(
        request: &Request,
        merchant: &MerchantId,
        user: &UserId,
    ) -> Result<ListLedger, ApiError> {
        let given = Parameters::read(request, &["limit", "cursor"])?;
        let scope = ["ledger", merchant.as_str(), user.as_str()].map(str::to_owned).to_vec();
        let position = |text: &str| LedgerPage::is_position(text).then(|| text.to_owned());
        let position = given.position("cursor", &scope, position)?;
        Ok(ListLedger { limit: given.limit()?, position, scope })
    }

    /// The cursor for the entries after `position`.
    pub fn cursor(&self, position: &str) -> String {
        cursor::seal(&borrowed(&self.scope), position)
    }
}

/// The parameters of `GET /admin/reviews`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListReviews {
    /// Whether those that are closed are wanted, and not those that are open.
    pub closed: bool,
    /// Entries of the page.
    pub limit: i32,
    /// Where to go on.
    pub position: Option<String>,
    scope: Vec<String>,
}

impl ListReviews {
    /// Reads the query of `merchant`'s request.
    pub fn read(request: &Request, merchant: &MerchantId) -> Result<ListReviews, ApiError> {
        let given = Parameters::read(request, &["status", "limit", "cursor"])?;
        let word = |text: &str| match text {
            "open" => Some(false),
            "closed" => Some(true),
            _ => None,
        };
        let closed = given.parsed("status", word, "must be open or closed")?.unwrap_or(false);
        let which = if closed { "closed" } else { "open" };
        let scope = ["reviews", merchant.as_str(), which].map(str::to_owned).to_vec();
        let position = |text: &str| ReviewPage::is_position(text).then(|| text.to_owned());
        let position = given.position("cursor", &scope, position)?;
        Ok(ListReviews { closed, limit: given.limit()?, position, scope })
    }

    /// The cursor for the entries after `position`.
    pub fn cursor(&self, position: &str) -> String {
        cursor::seal(&borrowed(&self.scope), position)
    }
}

impl ListEvents {
    /// Reads the query of `merchant`'s request.
    pub fn read(request: &Request, merchant: &MerchantId) -> Result<ListEvents, ApiError> {
        let given = Parameters::read(request, &["after", "limit"])?;
        let scope = ["events", merchant.as_str()].map(str::to_owned).to_vec();
        let position = given.position("after", &scope, |text| Some(text.to_owned()))?;
        Ok(ListEvents { limit: given.limit()?, position, scope })
    }

    /// The cursor for the events after `position`.
    pub fn cursor(&self, position: &str) -> String {
        cursor::seal(&borrowed(&self.scope), position)
    }
}

pub(super) fn borrowed(scope: &[String]) -> Vec<&str> {
    scope.iter().map(String::as_str).collect()
}

struct Parameters(BTreeMap<String, (&'static str, String)>);

impl Parameters {
    fn read(request: &Request, names: &[&'static str]) -> Result<Parameters, ApiError> {
        let mut found = BTreeMap::new();
        let query = request.uri().query().unwrap_or("");
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            let Some(known) = names.iter().copied().find(|known| *known == name) else {
                return Err(ApiError::unknown(&name, "parameter", names));
            };
            if found.insert(name.into_owned(), (known, value.into_owned())).is_some() {
                return Err(ApiError::field(known, "appears twice"));
            }
        }
        Ok(Parameters(found))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(_, value)| value.as_str())
    }

    fn parsed<T>(
        &self,
        name: &str,
        parse: impl Fn(&str) -> Option<T>,
        issue: &str,
    ) -> Result<Option<T>, ApiError> {
        let Some((name, value)) = self.0.get(name) else { return Ok(None) };
        parse(value).map(Some).ok_or_else(|| ApiError::field(*name, issue))
    }

    fn limit(&self) -> Result<i32, ApiError> {
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let parse = |text: &str| text.parse().ok().filter(|_| digits(text));
        let in_range = |text: &str| parse(text).filter(|limit| (1..=LIMIT_MAX).contains(limit));
        let issue = format!("must be an integer from 1 to {LIMIT_MAX}");
        Ok(self.parsed("limit", in_range, &issue)?.unwrap_or(LIMIT_DEFAULT))
    }

    /// The position that a cursor of this `scope` holds, if a page can have ended there: the table
    /// refuses to go on from anywhere else.
    fn position<T>(
        &self,
        name: &str,
        scope: &[String],
        parse: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        let open = |text: &str| parse(&cursor::open(&borrowed(scope), text)?);
        self.parsed(name, open, "was not given out for this list")
    }
}

/// What is wrong with a time that [`parse_time`] does not take.
pub(super) const TIME: &str =
    "must be an RFC 3339 time from 1970 to 2286, like 2026-01-31T23:59:59Z";

pub(super) fn parse_time(text: &str) -> Option<Timestamp> {
    let time = DateTime::from_str(text, Format::DateTimeWithOffset).ok()?;
    time.to_millis()
        .ok()
        .filter(|millis| (0..10_000_000_000_000).contains(millis))
        .map(Timestamp::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::OrderId;

    const ORDER: &str = "R0123456789ABCDEFGHJKMNPQR";

    fn read(query: &str) -> Result<ListOrders, ApiError> {
        let mut request = Request::default();
        *request.uri_mut() = format!("https://localhost/recharges?{query}").parse().unwrap();
        ListOrders::read(&request, &MerchantId::parse("m_a").unwrap())
    }

    #[test]
    fn filters_are_read_in_their_grammar() {
        let list = read("userId=u_1&status=SUCCESS&from=2026-01-31T00:00:00Z&limit=7").unwrap();
        assert_eq!(list.user, UserId::parse("u_1"));
        assert_eq!((list.state, list.limit), (Some(OrderState::Success), 7));
        assert_eq!(list.from, Some(Timestamp::from_secs(1_769_817_600)));
        let offset = read("to=2026-01-31T01:00:00%2B01:00").unwrap();
        assert_eq!(offset.to, Some(Timestamp::from_secs(1_769_817_600)));
        assert_eq!(read("").unwrap().limit, LIMIT_DEFAULT);
    }

    #[test]
    fn each_wrong_parameter_is_named() {
        for (query, field) in [
            ("userId=u%201", "userId"),
            ("status=success", "status"),
            ("status=", "status"),
            ("orderReference=a/b", "orderReference"),
            ("from=yesterday", "from"),
            ("to=1700000000", "to"),
            ("to=-0001-01-01T00:00:00Z", "to"),
            ("limit=0", "limit"),
            ("limit=101", "limit"),
            ("limit=%2B5", "limit"),
            ("cursor=00", "cursor"),
            ("limit=1&limit=2", "limit"),
        ] {
            let error = read(query).expect_err(query);
            assert_eq!(error.field.unwrap().0, field, "{query}");
        }
        assert_eq!(read("user=u_1").unwrap_err().field.unwrap().0, "user");
    }

    #[test]
    fn a_cursor_belongs_to_its_filters() {
        let cursor = read("status=SUCCESS").unwrap().cursor(&format!("1#{ORDER}"));
        let again = read(&format!("status=SUCCESS&cursor={cursor}")).unwrap();
        let id = OrderId::parse(ORDER).unwrap();
        let position = OrderPosition { created_at: Timestamp::from_millis(1), id };
        assert_eq!(again.position, Some(position));
        assert!(read(&format!("status=FAILED&cursor={cursor}")).is_err());
        assert!(read(&format!("cursor={cursor}")).is_err());
    }

    /// Whoever computes the check gets no further than with any other text.
    #[test]
    fn a_position_at_which_no_page_can_have_ended_is_none() {
        let day = "from=2026-01-31T00:00:00Z&to=2026-02-01T00:00:00Z";
        let with = |filter: &str, position: &str| {
            let cursor = read(filter).unwrap().cursor(position);
            read(&format!("{filter}&cursor={cursor}"))
        };
        let (first, end) = (1_769_817_600_000_i64, 1_769_904_000_000_i64);
        for (filter, at, good) in [
            ("limit=5", "0".to_owned(), true),
            ("limit=5", i64::MAX.to_string(), true),
            ("limit=5", "-1".to_owned(), false),
            ("limit=5", "+1".to_owned(), false),
            ("limit=5", "01".to_owned(), false),
            ("limit=5", "9".repeat(40), false),
            ("limit=5", String::new(), false),
            (day, first.to_string(), true),
            (day, (end - 1).to_string(), true),
            (day, (first - 1).to_string(), false),
            (day, end.to_string(), false),
        ] {
            let found = with(filter, &format!("{at}#{ORDER}"));
            assert_eq!(found.is_ok(), good, "{filter} {at}: {found:?}");
        }
        for position in ["", "1", "1#", "1#R1", "#", ORDER] {
            let refused = with("limit=5", position).unwrap_err();
            assert_eq!(refused.field.unwrap().0, "cursor", "{position}");
        }
    }

    #[test]
    fn positions_in_ledgers_and_among_reviews_name_rows_of_theirs() {
        let (payment, review) =
            ("1700000000000#P#trader#A#R1", "1700000000000#K#0123456789ABCDEFGHJKMNPQRS");
        assert!(LedgerPage::is_position(payment) && ReviewPage::is_position(review));
        assert!(!LedgerPage::is_position(review) && !ReviewPage::is_position(payment));
        for bad in ["", "1#", "#", "1700000000000", "1700000000000#", "1700000000000#P#", "P#a"] {
            assert!(!LedgerPage::is_position(bad) && !ReviewPage::is_position(bad), "{bad}");
        }
        for (good, bad) in [("1700000000000", "-700000000000"), ("1700000000000", "170000000000")] {
            assert!(!LedgerPage::is_position(&payment.replace(good, bad)), "{bad}");
            assert!(!ReviewPage::is_position(&review.replace(good, bad)), "{bad}");
        }
    }
}
