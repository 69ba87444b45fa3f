//! What is sent, and what answers mean.

use super::*;

/// The answer to a look-up of the user `uuid` with `wallets`.
fn detail(uuid: &str, wallets: &[(i32, i32, &str)]) -> Value {
    let wallet = |(wallet_id, chain_id, address): &(i32, i32, &str)| json!({"walletId": wallet_id, "chainId": chain_id, "walletAddress": address});
    let wallets: Vec<Value> = wallets.iter().map(wallet).collect();
    json!({"userId": 7_046, "uuid": uuid, "createTime": "2024-03-29 17:45:18", "userType": 1,
           "userWallet": wallets})
}

fn on(network: &str, address: &str) -> Deposit {
    Deposit { address: address.to_owned(), network: network.to_owned() }
}

const OTHER: &str = "0x00000000000000000000000000000000000000b5";

#[tokio::test]
async fn requests_are_signed_as_the_contract_wants() {
    let bench = bench().answers(500, &json!(null)).answers(200, &json!(7_046));
    let bench = bench.answers(200, &detail(mark().as_str(), &[(1, 136, ADDRESS)]));
    assert_eq!(bench.provider.find_addresses(&mark(), NOW).await, Answer::Done(vec![]));
    let made = bench.provider.new_addresses(&mark(), NOW).await;
    assert_eq!(made, Answer::Done(vec![on("TRON", ADDRESS)]));
    let sent = bench.script.sent.lock().unwrap();
    let targets: Vec<(&str, &str)> =
        sent.iter().map(|sent| (sent.method.as_str(), sent.target.as_str())).collect();
    let look = format!("https://payprotocol.invalid/api/mer/user/detail?uuid={}", mark());
    let make = "https://payprotocol.invalid/api/mer/user/create";
    assert_eq!(targets, [("GET", look.as_str()), ("POST", make), ("GET", look.as_str())]);
    assert_eq!(sent[1].body, format!(r#"{{"uuid":"{}"}}"#, mark()));
    assert_eq!(sent[1].headers["content-type"], "application/json");
    for sent in sent.iter() {
        let path = sent.target.strip_prefix("https://payprotocol.invalid").unwrap();
        let (method, body) = (sent.method.as_str(), sent.body.as_bytes());
        let signed = Signed { timestamp: "1700000020", method, path, body };
        assert_eq!(sent.headers[HEADERS[0]], "PPTEST01");
        assert_eq!(sent.headers[HEADERS[1]], "1700000020");
        assert_eq!(sent.headers[HEADERS[2]], signature(KEY, signed).as_str());
    }
}

#[tokio::test]
async fn wallets_count_on_listed_chains_and_for_the_user_asked_for() {
    let found = async |uuid: &str, wallets: &[(i32, i32, &str)]| {
        let bench = bench().answers(200, &detail(uuid, wallets));
        bench.provider.find_addresses(&mark(), NOW).await
    };
    let ours = mark();
    let both = [(2, 136, ADDRESS), (3, 101, OTHER), (4, 9, "kaspa:qq0000")];
    let deposits = vec![on("BSC", OTHER), on("TRON", ADDRESS)];
    assert_eq!(found(ours.as_str(), &both).await, Answer::Done(deposits));
    assert_eq!(found(ours.as_str(), &[(4, 9, ADDRESS)]).await, Answer::Done(vec![]));
    assert_eq!(found(ours.as_str(), &[]).await, Answer::Done(vec![]));
    // Some write a hexadecimal address with a checksum in its case; of others the case is part.
    let checked = "0x00000000000000000000000000000000000000B5";
    let one = Answer::Done(vec![on("BSC", OTHER)]);
    assert_eq!(found(ours.as_str(), &[(3, 101, checked)]).await, one);
    let newer = "TXTESTADDRESS000000000000000000002";
    let oldest = Answer::Done(vec![on("TRON", ADDRESS)]);
    assert_eq!(found(ours.as_str(), &[(9, 136, newer), (2, 136, ADDRESS)]).await, oldest);
    assert!(is_unknown(&found("M0000000000000000000000000", &both).await), "somebody else's");
    assert!(is_unknown(&found("", &both).await));
    for bad in ["", "T<b>", "TXTEST ADDRESS00000000000000000001", &"a".repeat(129)] {
        assert!(is_unknown(&found(ours.as_str(), &[(1, 136, bad)]).await), "{bad}");
    }
}

#[tokio::test]
async fn only_a_well_formed_answer_says_that_a_user_is_not_known() {
    let found = async |settings: Value, answer: Result<(u16, &str), OutboundError>| {
        let bench = bench_with(settings, true).replies(answer);
        bench.provider.find_addresses(&mark(), NOW).await
    };
    let none = Answer::Done(vec![]);
    for answer in [
        Ok((200, r#"{"code":500,"msg":"用户不存在"}"#)),
        Ok((200, r#"{"code":404,"msg":"x","data":{}}"#)),
        Ok((200, r#"{"code":200,"msg":"success","data":null}"#)),
        Ok((200, r#"{"code":200}"#)),
        Ok((404, "<html>")),
    ] {
        let described = format!("{answer:?}");
        assert_eq!(found(json!({}), answer).await, none, "{described}");
    }
    for answer in [
        Err(OutboundError::TimedOut),
        Err(OutboundError::Broken),
        Err(OutboundError::AnswerTooLarge),
        Ok((500, r#"{"code":500}"#)),
        Ok((401, r#"{"code":401}"#)),
        Ok((429, r#"{"code":200,"data":null}"#)),
        Ok((302, "")),
        Ok((200, r#"{"code":401,"msg":"sign"}"#)),
        Ok((200, r#"{"code":403}"#)),
        Ok((200, r#"{"code":429}"#)),
        Ok((200, r#"{"code":"200","data":null}"#)),
        Ok((200, r#"{"code":500,"code":200}"#)),
        Ok((200, r#"{"data":null}"#)),
        Ok((200, r#"{"code":200,"data":[]}"#)),
        Ok((200, "<html>maintenance</html>")),
        Ok((200, "")),
    ] {
        let described = format!("{answer:?}");
        assert!(is_unknown(&found(json!({}), answer).await), "{described}");
    }
    assert_eq!(found(json!({}), Err(OutboundError::NotSent)).await, Answer::NotSent);
    let known = || json!({"not_found_codes": [10_404], "uuid_parameter": "UUID"});
    assert_eq!(found(known(), Ok((200, r#"{"code":10404}"#))).await, none);
    assert!(is_unknown(&found(known(), Ok((200, r#"{"code":500}"#))).await));
}

#[tokio::test]
async fn the_name_of_the_users_parameter_can_be_changed() {
    let bench = bench_with(json!({"uuid_parameter": "UUID"}), true).answers(500, &json!(null));
    bench.provider.find_addresses(&mark(), NOW).await;
    assert_eq!(bench.asked(), [format!("/user/detail?UUID={}", mark())]);
}

#[tokio::test]
async fn after_a_creation_that_failed_the_look_up_decides() {
    let there = detail(mark().as_str(), &[(1, 136, ADDRESS)]);
    let known = Answer::Done(vec![on("TRON", ADDRESS)]);
    for created in [
        Err(OutboundError::TimedOut),
        Err(OutboundError::NotSent),
        Ok((500, "")),
        Ok((200, r#"{"code":500,"msg":"exists"}"#)),
        Ok((200, r#"{"code":429}"#)),
        Ok((201, r#"{"code":200,"data":7046}"#)),
    ] {
        let described = format!("{created:?}");
        let bench = bench().replies(created).answers(200, &there);
        assert_eq!(bench.provider.new_addresses(&mark(), NOW).await, known, "{described}");
    }
    let made = async |created, looked| {
        let bench = bench().replies(created).replies(looked);
        bench.provider.new_addresses(&mark(), NOW).await
    };
    let missing = || Ok((200, r#"{"code":500,"msg":"no user"}"#));
    let refused = made(Ok((200, r#"{"code":500,"msg":"limit"}"#)), missing()).await;
    assert!(matches!(refused, Answer::Declined(why) if why.contains("limit")));
    for created in [
        Err(OutboundError::TimedOut),
        Ok((200, r#"{"code":429}"#)),
        Ok((200, r#"{"code":200,"data":1}"#)),
    ] {
        assert!(is_unknown(&made(created, missing()).await));
    }
    let lost = || Err(OutboundError::NotSent);
    assert_eq!(made(lost(), lost()).await, Answer::NotSent);
    assert!(is_unknown(&made(Ok((200, r#"{"code":200,"data":1}"#)), lost()).await));
    assert!(is_unknown(&made(lost(), Err(OutboundError::TimedOut)).await));
}

#[tokio::test]
async fn nothing_is_sent_while_the_key_cannot_be_read() {
    let bench = bench_with(json!({}), false);
    assert!(is_unknown(&bench.provider.find_addresses(&mark(), NOW).await));
    assert!(is_unknown(&bench.provider.new_addresses(&mark(), NOW).await));
    assert!(is_unknown(&bench.provider.list(NOW, NOW, NOW).await));
    assert!(bench.script.sent.lock().unwrap().is_empty());
}

/// What the provider says when it is asked about the contract's recharge.
async fn confirmed(answer: &Value, code: i64) -> Answer<Option<Evidence>> {
    let bench = bench().answers(code, answer);
    let record = super::super::record::read(recharge(&json!({})).as_object().unwrap()).unwrap();
    let evidence = bench.provider.evidence(&record, (Source::Callback, NOW), [0; 32]);
    let confirmed = bench.provider.confirm(&evidence, None, NOW).await;
    assert_eq!(bench.asked(), ["/recharge/detail?rechargeId=900001"]);
    if let Answer::Done(Some(found)) = &confirmed {
        assert_eq!((found.source, &found.payment_id), (Source::Query, &evidence.payment_id));
    }
    confirmed
}

#[tokio::test]
async fn a_payment_is_confirmed_by_what_the_provider_says_of_it() {
    let kind = async |change: Value| match confirmed(&recharge(&change), 200).await {
        Answer::Done(Some(evidence)) => Some((evidence.kind, evidence.identity())),
        _ => None,
    };
    let same = kind(json!({})).await.unwrap();
    assert_eq!(same.0, usdt(12_345_678));
    let other = kind(json!({"rechargeAmount": "1"})).await.unwrap();
    assert!(other.0 == usdt(1) && other.1 != same.1);
    assert_eq!(kind(json!({"rechargeStatus": 1})).await.unwrap().0, EvidenceKind::Unrecognised);
    assert_eq!(kind(json!({"rechargeStatus": 2})).await.unwrap().0, EvidenceKind::Declined);
    assert_eq!(kind(json!({"rechargeId": 900_002})).await, None, "another recharge");
    assert!(is_unknown(&confirmed(&recharge(&json!({"rechargeId": 900_002})), 200).await));
    assert!(is_unknown(&confirmed(&json!({"rechargeId": 900_001}), 200).await));
    for code in [401, 403, 429, 500, 10_404] {
        assert!(is_unknown(&confirmed(&json!(null), code).await), "{code}");
    }
    assert_eq!(confirmed(&json!(null), 404).await, Answer::Done(None));
    assert_eq!(confirmed(&json!(null), 200).await, Answer::Done(None));
}

#[tokio::test]
async fn callback_detail_and_list_say_the_same_of_one_payment() {
    let answer = recharge(&json!({}));
    let Answer::Done(Some(queried)) = confirmed(&answer, 200).await else { panic!("confirmed") };
    let bench = bench().answers(200, &json!({"count": 1, "page": 1, "size": 10, "list": [answer]}));
    let Answer::Done(listed) = bench.provider.list(NOW, NOW, NOW).await else { panic!("listed") };
    assert_eq!(listed.len(), 1);
    assert_eq!(listed[0].source, Source::List);
    assert_eq!(listed[0].identity(), queried.identity());
    let as_queried = Evidence { source: Source::Query, ..listed[0].clone() };
    assert_eq!(as_queried, queried);
}

#[tokio::test]
async fn what_differs_from_the_providers_own_list_is_named() {
    let entry = |chain_id: i32, currency_id: i32, decimals: i32| {
        json!({"currencyId": currency_id, "chainId": chain_id, "name": "Tether", "symbol": "USDT",
               "address": "TCONTRACT", "decimals": decimals, "icon": "AAAA"})
    };
    let examined = async |bsc: Value, tron: Value| {
        let bench = bench().answers(200, &bsc).answers(200, &tron);
        let answer = bench.provider.examine(NOW).await;
        let asked = ["/conf/list/currency?chainId=101", "/conf/list/currency?chainId=136"];
        assert_eq!(bench.asked(), asked);
        answer
    };
    let good = || (json!([entry(101, 18, 18)]), json!([entry(136, 1, 6), entry(136, 17, 6)]));
    let (bsc, tron) = good();
    assert_eq!(examined(bsc.clone(), tron).await, Answer::Done(vec![]));
    let wrong = json!([{"currencyId": 17, "chainId": 136, "symbol": "U\nSDT", "address": "TX",
                        "decimals": 18}]);
    let differences = vec![
        r#"currency 17 on TRON: symbol "U\nSDT" there, "USDT" here"#.to_owned(),
        r#"currency 17 on TRON: contract "TX" there, "TCONTRACT" here"#.to_owned(),
        r#"currency 17 on TRON: decimals "18" there, "6" here"#.to_owned(),
    ];
    assert_eq!(examined(bsc.clone(), wrong).await, Answer::Done(differences));
    let missing = vec!["currency 17 on TRON: not known there".to_owned()];
    assert_eq!(examined(bsc.clone(), json!([])).await, Answer::Done(missing));
    assert!(is_unknown(&examined(bsc, json!({})).await));
}

#[tokio::test]
async fn nothing_is_ordered_here() {
    let bench = bench();
    assert!(!bench.provider.takes_orders() && !bench.provider.needs_address());
    assert!(bench.provider.gives_addresses() && bench.provider.can_list());
    assert!(!bench.provider.can_query());
    assert!(bench.provider.check_amount(Money::new(1, Currency::Usdt)).is_err());
}
