//! Deposits, and what waits for a person, as an operator meets them at the command line.

use serde_json::{Value, json};

use crate::bundle::*;

async fn at(bundle: &Bundle, command: &[&str]) -> (i32, String) {
    let (code, out, errors) = run(&[command, &["--port", bundle.port()]].concat()).await;
    (code, format!("{out}{errors}"))
}

async fn exact_amounts(bundle: &Bundle) {
    let aws_port = bundle.aws_url.rsplit(':').next().unwrap();
    let set = ["merchants", "set", "m_demo", "--amount", "exact", "--aws-port", aws_port];
    assert_eq!(run(&set).await.0, 0);
}

/// An order of 5 USDT that was paid with `minor`; its id and the id of its review.
async fn paid_short(bundle: &Bundle, key: &str, minor: i64) -> (String, String) {
    let client = bundle.client();
    let order = order_of(&create(&client, "u_1", key).await.unwrap());
    client.local("pay", json!({"orderId": order, "amount": minor})).await.unwrap();
    assert_eq!(status(&client, &order).await, "REVIEW");
    let (code, table) = at(bundle, &["reviews"]).await;
    assert_eq!(code, 0, "{table}");
    let line = table.lines().find(|line| line.contains(&order)).unwrap();
    let review = line.split(' ').next().unwrap().to_owned();
    (order, review)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_sees_what_waits_and_decides_it() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    exact_amounts(&bundle).await;
    assert_eq!(at(&bundle, &["reviews"]).await, (0, "no open reviews\n".to_owned()));
    let (order, review) = paid_short(&bundle, "short", 4_000_000).await;
    let (_, table) = at(&bundle, &["reviews"]).await;
    assert!(table.starts_with("REVIEW "), "{table}");
    for said in ["OPEN", "amount_mismatch", "4.000000 USDT", "m_demo/u_1"] {
        assert!(table.contains(said), "{said}: {table}");
    }

    let resolve = |action, more: &[&str]| {
        let decision = ["resolve", &review, action, "--note", "agreed with the payer"];
        [&decision[..], more].concat().into_iter().map(str::to_owned).collect::<Vec<String>>()
    };
    let decide = async |words: Vec<String>| {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        at(&bundle, &words).await
    };
    let (code, refused) = decide(resolve("credit_order", &[])).await;
    let wanted = "recharge: answered 400 INVALID_ARGUMENT: orderId is required\n";
    assert_eq!((code, refused.as_str()), (1, wanted));
    let (code, refused) = decide(resolve("reject", &["--as", "demo"])).await;
    assert_eq!((code, refused.contains("403 FORBIDDEN")), (1, true), "{refused}");
    let (code, refused) = decide(resolve("give_away", &[])).await;
    assert_eq!((code, refused.contains("credit_order, credit_user")), (2, true), "{refused}");
    let (code, decided) = decide(resolve("credit_order", &["--order", &order])).await;
    let wanted = format!("{review} APPROVED: the settlement carries it out\n");
    assert_eq!((code, decided), (0, wanted));

    let state = drained(&bundle.client()).await;
    assert_eq!(state["balances"], json!({"m_demo/u_1/USDT": 4_000_000}));
    // What was put aside stays, with what became of it.
    assert_eq!((&state["ledgerBalanced"], &state["parked"]), (&json!(true), &json!(1)));
    assert_eq!(at(&bundle, &["reviews"]).await, (0, "no open reviews\n".to_owned()));
    let (_, closed) = at(&bundle, &["reviews", "--closed"]).await;
    assert!(closed.contains("credit_order by admin: agreed with the payer"), "{closed}");
    let (code, refused) = decide(resolve("reject", &[])).await;
    assert_eq!((code, refused.contains("409 CONFLICT")), (1, true), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_amount_takes_two_people() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    exact_amounts(&bundle).await;
    let (order, review) = paid_short(&bundle, "large", 20_000_000_000).await;
    let (_, table) = at(&bundle, &["reviews"]).await;
    assert!(table.contains("takes two"), "{table}");
    let decide = ["resolve", &review, "credit_order", "--order", &order, "--note", "as agreed"];
    let by = async |who: &'static str| at(&bundle, &[&decide[..], &["--as", who]].concat()).await.1;
    assert!(by("admin").await.contains("PROPOSED: another person"));
    assert!(by("admin").await.contains("PROPOSED: another person"), "the same person again");
    assert_eq!(drained(&bundle.client()).await["balances"], json!({}));
    assert!(by("admin2").await.contains("APPROVED"));
    let state = drained(&bundle.client()).await;
    assert_eq!(state["balances"], json!({"m_demo/u_1/USDT": 20_000_000_000i64}));
    let (_, closed) = at(&bundle, &["reviews", "--closed"]).await;
    assert!(closed.contains("credit_order by admin and admin2: as agreed"), "{closed}");
}

#[tokio::test(flavor = "multi_thread")]
async fn money_at_a_deposit_address_is_credited_once_with_an_order_of_its_own() {
    let bundle = Bundle::start_on("0", &["--memory"]);
    let client = bundle.client();
    let path = ("POST", "/users/u_1/deposit-addresses");
    let wanted = r#"{"paymentMethod":"payprotocol"}"#;
    let made = client.signed(DEMO, path, wanted, "").await.unwrap();
    assert_eq!(made.status, 200, "{}", made.text);
    let on = |network: &str| -> String {
        let mut known = made.json["addresses"].as_array().unwrap().iter();
        let found = known.find(|one| one["network"] == network).unwrap();
        found["address"].as_str().unwrap().to_owned()
    };
    let tron = on("TRON");
    let deposit = json!({"address": tron, "amount": "12.5"});
    let deposited = client.local("deposit", deposit).await.unwrap();
    assert_eq!(deposited["callbacks"], json!([{"status": 200, "body": "success"}]));
    let order = deposited["orderId"].as_str().unwrap();
    let made = get(&client, &format!("/recharges/{order}")).await;
    let said = ["status", "userId", "amount", "creditedAmount", "paymentMethod"];
    let wanted: [Value; 5] = [
        "SUCCESS".into(),
        "u_1".into(),
        12_500_000.into(),
        12_500_000.into(),
        "payprotocol".into(),
    ];
    assert_eq!(said.map(|name| made[name].clone()), wanted, "{made}");
    client.local("poll", json!({})).await.unwrap();
    let state = drained(&client).await;
    assert_eq!(state["balances"], json!({"m_demo/u_1/USDT": 12_500_000}));
    check_books(&state);
}
