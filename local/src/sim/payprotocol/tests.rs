//! The simulated provider by itself; the adapter against it is tested in a world.

use recharge_shared::providers::payprotocol::HEADERS;
use serde_json::Value;

use super::*;

const LIMITS: Limits =
    Limits { deadline: Duration::from_secs(5), answer_bytes_max: BODY_BYTES_MAX };

fn provider() -> SimPayProtocol {
    let account = SimAccount {
        api_key: "PPLOCAL1".to_owned(),
        secret: "secret".to_owned(),
        notify_url: "https://recharge.invalid/callback?m=1".to_owned(),
    };
    SimPayProtocol::open(account, SharedClock::simulated(), None).unwrap()
}

/// What the provider answers to a request signed `off_secs` away from its clock.
async fn asked(
    provider: &SimPayProtocol,
    (method, path): (&str, &str),
    body: &str,
    off_secs: i64,
) -> Value {
    let timestamp = (provider.clock.now_ms() / 1_000 + off_secs).to_string();
    let path = format!("/api/mer{path}");
    let signed = Signed { timestamp: &timestamp, method, path: &path, body: body.as_bytes() };
    let request = Request::builder()
        .method(method)
        .uri(format!("http://payprotocol.invalid{path}"))
        .header(HEADERS[0], "PPLOCAL1")
        .header(HEADERS[1], &timestamp)
        .header(HEADERS[2], signature("secret", signed))
        .body(Bytes::from(body.to_owned()))
        .unwrap();
    let answer = provider.outbound().send(request, LIMITS).await.unwrap();
    serde_json::from_slice(answer.body()).unwrap()
}

async fn get(provider: &SimPayProtocol, path: &str) -> Value {
    asked(provider, ("GET", path), "", 0).await
}

/// The TRON address of a new user.
async fn address(provider: &SimPayProtocol) -> String {
    asked(provider, ("POST", "/user/create"), r#"{"uuid":"U-1"}"#, 0).await;
    let detail = get(provider, "/user/detail?uuid=U-1&chainId=136").await;
    detail["data"]["userWallet"][0]["walletAddress"].as_str().unwrap().to_owned()
}

fn deposit(provider: &SimPayProtocol, address: &str, silent: bool) -> Deposited {
    let transfer = Transfer { address, amount: "12.5", currency: "USDT", silent };
    provider.deposit(&transfer, Timestamp::from_secs(1)).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_request_is_believed_when_it_was_signed_within_a_minute() {
    let provider = provider();
    let code =
        async |off| asked(&provider, ("GET", "/conf/list/chain"), "", off).await["code"].clone();
    assert_eq!(
        (code(0).await, code(60).await, code(-60).await),
        (200.into(), 200.into(), 200.into())
    );
    assert_eq!((code(61).await, code(-61).await), (401.into(), 401.into()));
}

#[tokio::test(start_paused = true)]
async fn a_user_is_made_once_and_has_a_wallet_on_every_chain() {
    let provider = provider();
    assert_eq!(get(&provider, "/user/detail?uuid=U-1").await["code"], 500);
    let body = r#"{"uuid":"U-1"}"#;
    assert_eq!(asked(&provider, ("POST", "/user/create"), body, 0).await["data"], 7_000);
    assert_eq!(asked(&provider, ("POST", "/user/create"), body, 0).await["code"], 500);
    let detail = get(&provider, "/user/detail?UUID=U-1").await;
    assert_eq!(detail["data"]["userWallet"].as_array().map(Vec::len), Some(2));
    assert_eq!(provider.users(), 1);
}

#[tokio::test(start_paused = true)]
async fn callbacks_are_sent_six_times_or_until_success() {
    let provider = provider();
    let address = address(&provider).await;
    let silent = deposit(&provider, &address, true);
    assert_eq!(silent.callback, None);
    let deposited = deposit(&provider, &address, false);
    let callback = deposited.callback.unwrap();
    assert_eq!((deposited.units, callback.recharge_id), (12_500_000, 900_002));
    let signed =
        Signed { timestamp: "1", method: "POST", path: "/callback?m=1", body: &callback.body };
    assert_eq!(callback.headers[3].1, signature("secret", signed));
    let started_ms = provider.clock.now_ms();
    let mut sent_after_secs = vec![];
    provider.answered(callback.recharge_id, 200, "\"success\"");
    while let Some(due_ms) = provider.next_due_ms() {
        provider.clock.sleep_until(due_ms).await;
        assert_eq!(provider.due(Timestamp::from_secs(2)).len(), 1);
        sent_after_secs.push((provider.clock.now_ms() - started_ms) / 1_000);
    }
    assert_eq!(sent_after_secs, ATTEMPTS_AFTER_SECS[1..]);
    get(&provider, "/recharge/notify?rechargeId=900001").await;
    assert_eq!(provider.due(Timestamp::from_secs(2)).len(), 1, "asked for, although silent");
    let another = deposit(&provider, &address, false).callback.unwrap();
    provider.answered(another.recharge_id, 200, "success");
    assert_eq!(provider.next_due_ms(), None);
}

#[tokio::test(start_paused = true)]
async fn the_list_is_filtered_and_paged() {
    let provider = provider();
    let address = address(&provider).await;
    for _ in 0..3 {
        deposit(&provider, &address, true);
    }
    let ids = async |query: &str| {
        let page = get(&provider, &format!("/recharge/list?{query}")).await["data"].clone();
        let list = page["list"].as_array().cloned().unwrap_or_default();
        let ids: Vec<i64> = list.iter().filter_map(|one| one["rechargeId"].as_i64()).collect();
        (page["count"].as_u64(), ids)
    };
    assert_eq!(ids("size=2").await, (Some(3), vec![900_003, 900_002]));
    assert_eq!(ids("size=2&page=2").await, (Some(3), vec![900_001]));
    assert_eq!(ids("startTime=1800000001").await, (Some(0), vec![]));
    assert_eq!(ids("endTime=1799999999").await, (Some(0), vec![]));
    assert_eq!(ids("orderStatus=2").await, (Some(0), vec![]));
    assert_eq!(ids("uuid=U-1&chainId=136&page=1").await.0, Some(3));
    assert_eq!(get(&provider, "/recharge/detail?rechargeId=1").await["code"], 404);
    let detail = get(&provider, "/recharge/detail?rechargeId=900001").await;
    assert_eq!(detail["data"]["rechargeAmount"], "12500000");
    assert_eq!(detail["data"]["createTime"], "2027-01-15 16:00:00");
}

#[test]
fn amounts_are_exact_or_refused() {
    assert_eq!(units("12.5", 6), Ok(12_500_000));
    assert_eq!(units("0.000001", 6), Ok(1));
    assert_eq!(units("25.00000025", 18), Ok(25_000_000_250_000_000_000));
    assert_eq!(units("007", 0), Ok(7));
    for bad in ["", ".", "1.", ".5", "-1", "+1", "1e3", "0", "0.0", "0.0000001", &"9".repeat(33)] {
        assert!(units(bad, 6).is_err(), "{bad}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deposit_needs_an_address_and_a_currency_of_its_chain() {
    let provider = provider();
    let address = address(&provider).await;
    let deposit = |address: &str, currency: &str| {
        let transfer = Transfer { address, amount: "1", currency, silent: true };
        provider.deposit(&transfer, Timestamp::EPOCH).map(|deposited| deposited.network)
    };
    assert_eq!(deposit(&address, "TRX"), Ok("TRON"));
    assert!(deposit("T1", "USDT").is_err_and(|why| why.contains("address")));
    assert!(deposit(&address, "BNB").is_err_and(|why| why.contains("currency")));
    assert_eq!(provider.deposits(), 1);
}

#[tokio::test]
async fn the_books_survive_a_restart() {
    let dir = std::env::temp_dir().join(format!("recharge-payprotocol-{}", std::process::id()));
    let account = || SimAccount {
        api_key: "PPLOCAL1".to_owned(),
        secret: "secret".to_owned(),
        notify_url: "https://recharge.invalid/".to_owned(),
    };
    let open = || SimPayProtocol::open(account(), SharedClock::simulated(), Some(&dir)).unwrap();
    let first = open();
    let address = address(&first).await;
    deposit(&first, &address, false);
    first.set_mode(Mode::WrongAmount);
    drop(first);
    let second = open();
    assert_eq!((second.users(), second.deposits()), (1, 1));
    assert!(second.next_due_ms().is_some(), "the second attempt");
    let detail = get(&second, "/recharge/detail?rechargeId=900001").await;
    assert_eq!(detail["data"]["rechargeAmount"], "125000000");
    drop(second);
    std::fs::remove_dir_all(dir).unwrap();
}
