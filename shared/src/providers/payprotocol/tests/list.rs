//! The list of what arrived: complete, or no answer.

use super::*;

/// A page of `count` records in all.
fn page(count: usize, records: &[Value]) -> Value {
    json!({"count": count, "page": 1, "size": 2, "list": records})
}

fn with_id(id: i32) -> Value {
    recharge(&json!({"rechargeId": id}))
}

/// The ids of what is listed when the provider answers with `pages`, and what it was asked.
async fn listed(pages: &[Value]) -> (Answer<Vec<String>>, usize) {
    let mut bench = bench_with(json!({"page_size": 2}), true);
    for page in pages {
        bench = bench.answers(200, page);
    }
    let from = Timestamp::from_secs(1_699_990_000);
    let answer = bench.provider.list(from, NOW, NOW).await;
    let asked = bench.asked();
    for (number, asked) in asked.iter().enumerate() {
        let window = "startTime=1699989999&endTime=1700000021";
        assert!(asked.starts_with("/recharge/list?page=") && asked.ends_with(window), "{asked}");
        assert!(number > 0 || asked.contains("page=1&size=2&"), "{asked}");
    }
    let ids = |all: Vec<Evidence>| all.into_iter().map(|one| one.payment_id).collect();
    (answer.map(ids), asked.len())
}

fn done(ids: &[i32]) -> Answer<Vec<String>> {
    Answer::Done(ids.iter().map(i32::to_string).collect())
}

#[tokio::test]
async fn every_page_is_read_and_nothing_is_listed_twice() {
    assert_eq!(listed(&[page(0, &[])]).await, (done(&[]), 1));
    assert_eq!(listed(&[json!({"count": 0, "list": null})]).await, (done(&[]), 1));
    assert_eq!(listed(&[page(2, &[with_id(2), with_id(1)])]).await, (done(&[1, 2]), 1));
    let pages = [page(3, &[with_id(3), with_id(2)]), page(3, &[with_id(1)])];
    assert_eq!(listed(&pages).await, (done(&[1, 2, 3]), 2));
    // A provider whose pages are shorter than asked for.
    let short = [page(3, &[with_id(3)]), page(3, &[with_id(2)]), page(3, &[with_id(1)])];
    assert_eq!(listed(&short).await, (done(&[1, 2, 3]), 3));
}

#[tokio::test]
async fn a_row_that_arrives_in_between_makes_the_list_be_read_again() {
    let pages = [
        page(3, &[with_id(3), with_id(2)]),
        // 4 has arrived and has pushed 2 onto the second page.
        page(4, &[with_id(2), with_id(1)]),
        page(4, &[with_id(4), with_id(3)]),
        page(4, &[with_id(2), with_id(1)]),
    ];
    assert_eq!(listed(&pages).await, (done(&[1, 2, 3, 4]), 4));
    // The same while the number stands still: 1 was pushed off and is missing.
    let still = [
        page(3, &[with_id(3), with_id(2)]),
        page(3, &[with_id(2)]),
        page(3, &[]),
        page(3, &[with_id(3), with_id(2)]),
        page(3, &[with_id(1)]),
    ];
    assert_eq!(listed(&still).await, (done(&[1, 2, 3]), 5));
}

#[tokio::test]
async fn a_list_that_does_not_stand_still_is_no_answer() {
    let reading = |count: usize| [page(count, &[with_id(2)]), page(count + 1, &[with_id(1)])];
    let pages = [reading(2), reading(4), reading(6)].concat();
    let (answer, asked) = listed(&pages).await;
    assert!(is_unknown(&answer) && asked == 6, "{answer:?}");
    let missing = [page(2, &[with_id(1)]), page(2, &[])];
    let (answer, asked) = listed(&[missing.clone(), missing.clone(), missing].concat()).await;
    assert!(is_unknown(&answer) && asked == 6, "{answer:?}");
    let more = [page(1, &[with_id(1), with_id(2)])];
    let (answer, _) = listed(&[more.clone(), more.clone(), more].concat()).await;
    assert!(is_unknown(&answer), "{answer:?}");
}

#[tokio::test]
async fn one_id_with_two_contents_is_no_answer_until_the_list_says_so_twice() {
    let other = recharge(&json!({"rechargeId": 2, "rechargeAmount": "1"}));
    let reading = [page(3, &[with_id(3), with_id(2)]), page(3, &[other]), page(3, &[])];
    let moved = [page(3, &[with_id(3), with_id(2)]), page(3, &[with_id(3)]), page(3, &[])];
    let (answer, asked) = listed(&[moved.clone(), reading.clone(), moved].concat()).await;
    assert!(is_unknown(&answer) && asked == 9, "{answer:?}");
    let mut bench = bench_with(json!({"page_size": 2}), true);
    for page in reading.iter().chain(&reading) {
        bench = bench.answers(200, page);
    }
    let Answer::Done(all) = bench.provider.list(NOW, NOW, NOW).await else { panic!("listed") };
    let said: Vec<_> = all.iter().map(|one| (one.payment_id.as_str(), one.kind)).collect();
    assert_eq!(said, [("3", usdt(12_345_678)), ("2", EvidenceKind::Unrecognised)]);
    for amount in ["rechargeAmount=12345678&", "rechargeAmount=1&"] {
        assert!(all[1].raw.contains(amount), "{}", all[1].raw);
    }
}

#[tokio::test]
async fn a_recharge_that_is_listed_twice_hides_no_other() {
    let twice = [page(4, &[with_id(3), with_id(2)]), page(4, &[with_id(2), with_id(1)])];
    let reading = [&twice[..], &[page(4, &[])]].concat();
    assert_eq!(listed(&[reading.clone(), reading].concat()).await, (done(&[1, 2, 3]), 6));
    // What is pending is no word against what came of it, in whatever order.
    let status = |status: i32| recharge(&json!({"rechargeId": 2, "rechargeStatus": status}));
    for rows in [[status(1), status(0)], [status(0), status(1)]] {
        let reading = [page(2, &rows), page(2, &[])];
        assert_eq!(listed(&[reading.clone(), reading].concat()).await, (done(&[2]), 4));
    }
}

#[tokio::test]
async fn rows_of_one_id_that_cannot_be_read_are_one_persons_matter() {
    let bad = |time: i32| recharge(&json!({"rechargeId": 2, "blockTime": time}));
    for rows in [[bad(7), bad(8)], [bad(7), bad(7)], [bad(7), with_id(2)], [with_id(2), bad(7)]] {
        let reading = [page(3, &rows), page(3, &[with_id(1)]), page(3, &[])];
        let (answer, asked) = listed(&[reading.clone(), reading].concat()).await;
        assert_eq!((answer, asked), (done(&[1, 2]), 6), "{rows:?}");
    }
}

#[tokio::test]
async fn only_final_records_are_listed() {
    let status =
        |id: i32, status: i32| recharge(&json!({"rechargeId": id, "rechargeStatus": status}));
    let all = page(4, &[status(1, 0), status(2, 1), status(3, 2), status(4, 7)]);
    let bench = bench().answers(200, &all);
    let Answer::Done(listed) = bench.provider.list(NOW, NOW, NOW).await else { panic!("listed") };
    let kinds: Vec<(&str, EvidenceKind)> =
        listed.iter().map(|one| (one.payment_id.as_str(), one.kind)).collect();
    let wanted =
        [("1", usdt(12_345_678)), ("3", EvidenceKind::Declined), ("4", EvidenceKind::Unrecognised)];
    assert_eq!(kinds, wanted);
}

#[tokio::test]
async fn an_unreadable_page_is_no_answer() {
    for bad in [
        json!(null),
        json!([]),
        json!({"list": []}),
        json!({"count": -1, "list": []}),
        json!({"count": "0", "list": []}),
        json!({"count": 1, "list": {}}),
        page(4, &[json!({}), json!(null), json!([]), recharge(&json!({"rechargeStatus": null}))]),
    ] {
        let (answer, asked) = listed(std::slice::from_ref(&bad)).await;
        assert!(is_unknown(&answer) && asked == 1, "{bad}");
    }
    let bench = bench().answers(500, &json!(null));
    assert!(is_unknown(&bench.provider.list(NOW, NOW, NOW).await), "a refusal is no empty list");
}

#[tokio::test]
async fn an_unreadable_record_alone_in_its_window_is_put_aside() {
    for bad in [json!({}), json!(null), recharge(&json!({"rechargeStatus": null}))] {
        let (answer, asked) = listed(&[page(1, std::slice::from_ref(&bad))]).await;
        assert!(matches!(&answer, Answer::Done(ids) if ids.len() == 1) && asked == 1, "{bad}");
    }
}

#[tokio::test]
async fn records_that_are_unreadable_in_the_same_way_are_all_counted() {
    let bad = json!({"note": "no recharge"});
    let one = [page(3, &[bad.clone(), with_id(1), bad.clone()])];
    let two = [page(3, &[bad.clone(), with_id(1)]), page(3, &[bad])];
    for pages in [&one[..], &two[..]] {
        let (answer, asked) = listed(pages).await;
        let Answer::Done(ids) = answer else { panic!("listed") };
        assert_eq!((ids.len(), asked), (3, pages.len()));
        let distinct: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(distinct.len(), 3, "{ids:?}");
    }
}

#[tokio::test]
async fn one_unreadable_record_is_put_aside_and_hides_no_other() {
    let no_id = json!({"rechargeId": "seven", "note": "é".repeat(3_000)});
    let bad = recharge(&json!({"rechargeId": 2, "blockTime": 7}));
    let pages = [page(4, &[with_id(1), bad]), page(4, &[no_id, with_id(3)])];
    let mut bench = bench_with(json!({"page_size": 2}), true);
    for page in &pages {
        bench = bench.answers(200, page);
    }
    let Answer::Done(listed) = bench.provider.list(NOW, NOW, NOW).await else { panic!("listed") };
    let kinds: Vec<bool> =
        listed.iter().map(|one| one.kind == EvidenceKind::Unrecognised).collect();
    assert_eq!(kinds, [false, false, true, true]);
    let ids: Vec<&str> = listed.iter().map(|one| one.payment_id.as_str()).collect();
    assert_eq!(ids[..3], ["1", "3", "2"]);
    assert!(ids[3].starts_with("unreadable-") && ids[3].len() == 43, "{}", ids[3]);
    assert!(listed[2].raw.contains(r#""blockTime":7"#), "{}", listed[2].raw);
    assert!(listed[3].raw.len() <= crate::domain::evidence::RAW_BYTES_MAX);
}

#[tokio::test]
async fn a_list_that_is_too_large_is_no_answer_and_not_kept() {
    let text = "x".repeat(4_000_000);
    let unread = |id: i32| json!({"rechargeId": id, "note": text});
    let read = |id: i32| recharge(&json!({"rechargeId": id, "transferHash": text}));
    let too_large = Answer::Declined("the list is too large".to_owned());
    for (record, kept) in [(&unread as &dyn Fn(i32) -> Value, 4), (&read, 8)] {
        let pages: Vec<Value> = (1..12).map(|id| page(20, &[record(id)])).collect();
        assert_eq!(listed(&pages).await, (too_large.clone(), kept + 1));
    }
}
