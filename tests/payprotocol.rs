//! The Pay Protocol adapter against the simulated provider: the same wire, two sets of books.

#![expect(clippy::unwrap_used, reason = "a scene that cannot be set up ends the test")]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use recharge_local::aws::faults::{Call, Fault, Faults, Service};
use recharge_local::functions::{Functions, Ground};
use recharge_local::sim::payprotocol::{Deposited, Mode, Transfer};
use recharge_local::stack::{PAYPROTOCOL, PAYPROTOCOL_API_KEY};
use recharge_shared::domain::{
    Currency, Deposit, Evidence, EvidenceKind, MerchantId, Money, OrderId, ProviderName, Source,
    Timestamp, UserId, UserMark,
};
use recharge_shared::providers::{Answer, Provider};
use recharge_shared::store::{AddressOwner, AddressStored, Store};
use recharge_tests::World;
use recharge_tests::world::simulate;
use serde_json::Value;

fn name() -> ProviderName {
    ProviderName::parse(PAYPROTOCOL).unwrap()
}

fn adapter(world: &World) -> Arc<dyn Provider> {
    world.stack.functions.webhook.providers.get(Some(&name())).unwrap().clone()
}

fn now(world: &World) -> Timestamp {
    Timestamp::from_millis(world.clock().now_ms())
}

fn mark(user: &str) -> UserMark {
    UserMark::derive(&MerchantId::parse("m_demo").unwrap(), &UserId::parse(user).unwrap())
}

/// The new addresses of `user`, TRON first.
async fn addresses(world: &World, user: &str) -> Vec<Deposit> {
    let made = adapter(world).new_addresses(&mark(user), now(world)).await;
    let Answer::Done(mut made) = made else { unreachable!("{made:?}") };
    made.sort_by(|a, b| b.network.cmp(&a.network));
    made
}

/// Everything since the world began.
async fn listed(world: &World) -> Answer<Vec<Evidence>> {
    adapter(world).list(Timestamp::EPOCH, now(world), now(world)).await
}

const fn usdt(minor: i128) -> EvidenceKind {
    EvidenceKind::Paid(Money::new(minor, Currency::Usdt))
}

#[test]
fn a_user_has_one_address_a_chain_for_ever() {
    simulate(1, async || {
        let world = World::new().await;
        let (adapter, mark) = (adapter(&world), mark("u_1"));
        assert_eq!(adapter.find_addresses(&mark, now(&world)).await, Answer::Done(vec![]));
        let made = adapter.new_addresses(&mark, now(&world)).await;
        let Answer::Done(deposits) = &made else { unreachable!("{made:?}") };
        let networks: Vec<&str> = deposits.iter().map(|one| one.network.as_str()).collect();
        assert_eq!(networks, ["BSC", "TRON"]);
        assert_eq!(adapter.find_addresses(&mark, now(&world)).await, made);
        assert_eq!(adapter.new_addresses(&mark, now(&world)).await, made, "the provider refuses");
        assert_eq!(world.payprotocol.users(), 1);
    });
}

#[test]
fn addresses_whose_creation_was_not_answered_are_found() {
    simulate(1, async || {
        let world = World::new().await;
        let (adapter, mark) = (adapter(&world), mark("u_1"));
        world.payprotocol.set_mode(Mode::LostAnswer);
        let lost = adapter.new_addresses(&mark, now(&world)).await;
        assert!(matches!(lost, Answer::Unknown(_)), "{lost:?}");
        world.payprotocol.set_mode(Mode::Ok);
        let found = adapter.find_addresses(&mark, now(&world)).await;
        assert!(matches!(found, Answer::Done(found) if found.len() == 2));
        for mode in [Mode::Down, Mode::Error, Mode::Slow] {
            world.payprotocol.set_mode(mode);
            let found = adapter.find_addresses(&mark, now(&world)).await;
            assert!(matches!(found, Answer::Unknown(_)), "{mode:?}: {found:?}");
            assert!(matches!(listed(&world).await, Answer::Unknown(_)), "{mode:?}");
        }
    });
}

/// What a request for the user's addresses is answered.
async fn asked(world: &World, functions: &Functions, user: &str) -> BTreeSet<String> {
    let path = format!("/users/{user}/deposit-addresses");
    let request = world.signed(("POST", &path), r#"{"paymentMethod":"payprotocol"}"#, "");
    let answered = world.send_to(functions, &request).await;
    assert_eq!(answered.status, 200, "{}", answered.text);
    let all = answered.json["addresses"].as_array().unwrap();
    all.iter().map(|one| one["address"].as_str().unwrap().to_owned()).collect()
}

/// The ground with the currencies of one network alone.
fn ground_of(world: &World, network: &str) -> Ground {
    let mut settings: Value = serde_json::from_str(&world.stack.ground.provider_settings).unwrap();
    let listed = settings[PAYPROTOCOL]["currencies"].as_array_mut().unwrap();
    listed.retain(|one| one["network"] == network);
    Ground { provider_settings: settings.to_string(), ..world.stack.ground.clone() }
}

#[test]
fn a_network_that_is_listed_later_gets_its_address_and_the_others_keep_theirs() {
    simulate(1, async || {
        let world = World::new().await;
        let first = Functions::new(&ground_of(&world, "TRON")).unwrap();
        let one = asked(&world, &first, "u_1").await;
        assert_eq!(one.len(), 1);
        assert_eq!(asked(&world, &first, "u_1").await, one);
        // Without the provider's word they stay what they are.
        for mode in [Mode::Down, Mode::Error, Mode::Slow] {
            world.payprotocol.set_mode(mode);
            assert_eq!(asked(&world, &world.stack.functions, "u_1").await, one, "{mode:?}");
        }
        world.payprotocol.set_mode(Mode::Ok);
        let both = asked(&world, &world.stack.functions, "u_1").await;
        assert!(both.len() == 2 && both.is_superset(&one));
        // The former functions say what is stored, and complete nothing.
        assert_eq!(asked(&world, &first, "u_1").await, both);
        for address in &both {
            let deposited = world.deposit(address, "1");
            world.deliver_payprotocol(&deposited.callback.unwrap()).await;
            world.settle().await;
        }
        assert_eq!(world.books().credits.len(), 2);
        assert_eq!(world.books().violations(), Vec::<String>::new());
    });
}

#[test]
fn what_stops_a_network_from_being_added_is_gone_on_with_by_the_next() {
    for fault in [Fault::RequestLost, Fault::AnswerLost, Fault::Throttle, Fault::CrashAfter] {
        for index in 0..6 {
            simulate(1, async || {
                let world = World::new().await;
                let first = Functions::new(&ground_of(&world, "TRON")).unwrap();
                let one = asked(&world, &first, "u_1").await;
                let faults = Faults::new(world.clock().clone(), move |call| {
                    if call.index == index { fault } else { Fault::None }
                });
                let path = "/users/u_1/deposit-addresses";
                let body = r#"{"paymentMethod":"payprotocol"}"#;
                let request = world.signed(("POST", path), body, "");
                let functions = world.instance(&faults, 1);
                let sent = world.send_to(&functions, &request);
                let _ = tokio::time::timeout(Duration::from_secs(60), sent).await;
                let both = asked(&world, &world.stack.functions, "u_1").await;
                assert!(both.len() == 2 && both.is_superset(&one), "{fault:?} at {index}");
                assert_eq!(asked(&world, &world.stack.functions, "u_1").await, both);
            });
        }
    }
}

#[test]
fn a_network_is_not_added_with_an_address_of_somebody_else() {
    simulate(1, async || {
        let world = World::new().await;
        let first = Functions::new(&ground_of(&world, "TRON")).unwrap();
        let one = asked(&world, &first, "u_1").await;
        let theirs = asked(&world, &world.stack.functions, "u_2").await;
        world.payprotocol.share_wallets(mark("u_1").as_str(), mark("u_2").as_str());
        assert_eq!(asked(&world, &world.stack.functions, "u_1").await, one);
        assert_eq!(asked(&world, &world.stack.functions, "u_2").await, theirs);
    });
}

#[test]
fn an_address_keeps_the_account_under_which_it_was_stored() {
    simulate(1, async || {
        let world = World::new().await;
        let aws = &world.stack.ground.aws;
        let store = Store::new(aws.dynamodb(aws.http_client(), 3), world.stack.names.table.clone());
        let (merchant, user) =
            (MerchantId::parse("m_demo").unwrap(), UserId::parse("u_1").unwrap());
        let one = Deposit { network: "TRON".to_owned(), address: "T1".to_owned() };
        let new = std::slice::from_ref(&one);
        let of = |account| AddressOwner {
            merchant: &merchant,
            user: &user,
            provider: (PAYPROTOCOL, account),
        };
        for (account, stored) in [
            ("one", AddressStored::Now(vec![one.clone()])),
            // Its payments would be new ones under the other name, and credited again.
            ("another", AddressStored::OfAnother),
            ("one", AddressStored::Now(vec![one.clone()])),
        ] {
            let came = store.store_addresses(of(account), (&[], new), now(&world)).await.unwrap();
            assert_eq!(came, stored, "{account}");
            let owner = store.owner_of_address(&name(), &one).await.unwrap().unwrap();
            assert_eq!((&owner.user, owner.account.as_str()), (&user, "one"));
        }
    });
}

#[test]
fn addresses_that_the_provider_has_made_already_are_the_ones_to_pay_to() {
    simulate(1, async || {
        let world = World::new().await;
        // Of an attempt that died before it wrote them down.
        let made = addresses(&world, "u_1").await;
        let made: BTreeSet<String> = made.into_iter().map(|one| one.address).collect();
        assert_eq!(asked(&world, &world.stack.functions, "u_1").await, made);
        assert_eq!(asked(&world, &world.stack.functions, "u_1").await, made);
    });
}

#[test]
fn two_who_ask_at_once_for_new_addresses_get_the_same() {
    simulate(1, async || {
        let world = World::new().await;
        let slow = |call: &Call| if call.service == Service::Provider { 150 } else { 1 };
        let faults = Faults::with_latency(world.clock().clone(), |_| Fault::None, slow);
        let (one, other) = (world.instance(&faults, 1), world.instance(&faults, 1));
        let (first, second) =
            futures_util::join!(asked(&world, &one, "u_1"), asked(&world, &other, "u_1"));
        assert_eq!((first.len(), first), (2, second));
    });
}

#[test]
fn callback_detail_and_list_agree_on_a_deposit() {
    simulate(1, async || {
        let world = World::new().await;
        let tron = addresses(&world, "u_1").await.remove(0);
        let Deposited { recharge_id, callback, .. } = world.deposit(&tron.address, "12.345678");
        let answered = world.deliver_payprotocol(&callback.unwrap()).await;
        assert_eq!((answered.status, answered.text.as_str()), (200, "success"));
        assert_eq!(answered.headers["content-type"], "text/plain");
        assert_eq!(world.stack.depth().visible, 1, "the evidence is in the queue");
        world.pass(900).await;
        assert_eq!(world.deliver_due().await, 0, "it was acknowledged");

        let Answer::Done(mut found) = listed(&world).await else { unreachable!("a list") };
        let found = found.pop().unwrap();
        assert_eq!((found.kind, found.source), (usdt(12_345_678), Source::List));
        assert_eq!((&found.deposit, &found.user_mark), (&Some(tron), &Some(mark("u_1"))));
        let order = OrderId::of_payment(&name(), PAYPROTOCOL_API_KEY, &recharge_id.to_string());
        assert_eq!(found.order_id, Some(order));
        let confirmed = adapter(&world).confirm(&found, None, now(&world)).await;
        let Answer::Done(Some(confirmed)) = confirmed else { unreachable!("{confirmed:?}") };
        assert_eq!(confirmed.identity(), found.identity());
    });
}

#[test]
fn a_callback_comes_again_until_it_is_taken() {
    simulate(1, async || {
        let world = World::new().await;
        let tron = addresses(&world, "u_1").await.remove(0);
        world.deposit(&tron.address, "1");
        for after_secs in [15, 15, 150] {
            assert_eq!(world.deliver_due().await, 0);
            world.pass(after_secs - 1).await;
            assert_eq!(world.payprotocol.due(now(&world)).len(), 0);
            world.pass(1).await;
            if after_secs == 150 {
                assert_eq!(world.deliver_due().await, 1);
            } else {
                // Signed, and lost on the way.
                assert_eq!(world.payprotocol.due(now(&world)).len(), 1);
            }
        }
        assert_eq!(world.payprotocol.next_due_ms(), None);
        assert_eq!(world.stack.depth().visible, 1);
    });
}

#[test]
fn an_old_callback_is_refused() {
    simulate(1, async || {
        let world = World::new().await;
        let tron = addresses(&world, "u_1").await.remove(0);
        let callback = world.deposit(&tron.address, "1").callback.unwrap();
        world.pass(901).await;
        assert_eq!(world.deliver_payprotocol(&callback).await.status, 401);
        assert_eq!(world.stack.depth().visible, 0);
    });
}

#[test]
fn every_deposit_is_in_the_list_whatever_it_is() {
    simulate(1, async || {
        let world = World::new().await;
        let both = addresses(&world, "u_1").await;
        let (tron, bsc) = (&both[0].address, &both[1].address);
        world.pass(3_600).await;
        let quiet = |address, amount, currency| {
            world.transfer(&Transfer { address, amount, currency, silent: true });
        };
        for _ in 0..1_203 {
            quiet(tron, "1", "USDT");
        }
        quiet(bsc, "25.00000025", "USDT");
        quiet(tron, "7", "TRX");
        assert_eq!(world.deliver_due().await, 0);
        let Answer::Done(found) = listed(&world).await else { unreachable!("a list") };
        assert_eq!(found.len(), 1_205);
        let said = |one: &Evidence| (one.kind, one.dust.map(|dust| dust.units));
        assert_eq!(said(&found[0]), (usdt(1_000_000), None));
        assert_eq!(said(&found[1_203]), (usdt(25_000_000), Some(250_000_000_000)));
        assert_eq!(said(&found[1_204]), (EvidenceKind::Unlisted, None));
        let from = now(&world).plus(Duration::from_secs(10));
        world.pass(20).await;
        let later = adapter(&world).list(from, now(&world), now(&world)).await;
        assert_eq!(later, Answer::Done(vec![]));
    });
}

#[test]
fn a_provider_that_contradicts_itself_is_not_believed() {
    simulate(1, async || {
        let world = World::new().await;
        let tron = addresses(&world, "u_1").await.remove(0);
        world.deposit(&tron.address, "1");
        let Answer::Done(found) = listed(&world).await else { unreachable!("a list") };
        let confirmed = async || adapter(&world).confirm(&found[0], None, now(&world)).await;
        world.payprotocol.set_mode(Mode::WrongAmount);
        let Answer::Done(Some(other)) = confirmed().await else { unreachable!("an answer") };
        assert_eq!(other.kind, usdt(10_000_000));
        world.payprotocol.set_mode(Mode::UnknownStatus);
        let Answer::Done(Some(other)) = confirmed().await else { unreachable!("an answer") };
        assert_eq!(other.kind, EvidenceKind::Unrecognised);
        let Answer::Done(listed) = listed(&world).await else { unreachable!("a list") };
        assert_eq!(listed[0].kind, EvidenceKind::Unrecognised);
        world.payprotocol.set_mode(Mode::Ok);
        let unknown = Evidence { payment_id: "1".to_owned(), ..found[0].clone() };
        let confirmed = adapter(&world).confirm(&unknown, None, now(&world)).await;
        assert_eq!(confirmed, Answer::Done(None));
    });
}

#[test]
fn the_local_settings_agree_with_the_provider() {
    simulate(1, async || {
        let world = World::new().await;
        assert_eq!(adapter(&world).examine(now(&world)).await, Answer::Done(vec![]));
    });
}
