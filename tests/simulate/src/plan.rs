//! What one run is like: drawn from its seed, each run with other faults switched on, so that rare ones are
//! not drowned by common ones.

use std::collections::BTreeMap;

use recharge_local::aws::faults::Service;

use crate::dice::Dice;

/// What comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Orders that are paid once, through a provider whose payments are its orders.
    Orders,
    /// Parts, second payments, deposits that nobody announces, and people's decisions.
    Money,
}

/// Which paths are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Everything is on.
    All,
    /// The poller never runs: callbacks and clients' retries have to do.
    NoPoller,
    /// No callback arrives: the poller has to do.
    NoWebhooks,
    /// Everything comes several times at once, to several workers.
    Burst,
    /// Long pauses, then everything again: callbacks, messages, dead letters, creates.
    Gaps,
}

impl Mode {
    /// Every mode.
    pub const ALL: [Mode; 5] =
        [Mode::All, Mode::NoPoller, Mode::NoWebhooks, Mode::Burst, Mode::Gaps];

    /// The word on the command line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Mode::All => "all",
            Mode::NoPoller => "no-poller",
            Mode::NoWebhooks => "no-webhooks",
            Mode::Burst => "burst",
            Mode::Gaps => "gaps",
        }
    }

    /// Reads the word.
    pub fn parse(text: &str) -> Option<Mode> {
        Mode::ALL.into_iter().find(|mode| mode.as_str() == text)
    }

    /// Whether the schedule ticks.
    pub const fn polls(self) -> bool {
        !matches!(self, Mode::NoPoller)
    }

    /// Whether callbacks arrive.
    pub const fn calls_back(self) -> bool {
        !matches!(self, Mode::NoWebhooks)
    }
}

/// How often a call of one service suffers what, in thousandths.
#[derive(Debug, Clone, Copy, Default)]
pub struct Rates {
    /// It never arrives.
    pub request_lost: u64,
    /// It is applied, and nobody hears of it.
    pub answer_lost: u64,
    /// It is applied minutes later, when its caller has given up.
    pub late: u64,
    /// The service refuses it for its rate.
    pub throttle: u64,
    /// A write meets another write.
    pub conflict: u64,
    /// The caller dies before it leaves.
    pub crash_before: u64,
    /// The caller dies before the answer comes.
    pub crash_after: u64,
    /// The caller's whole instance stands still for a while.
    pub freeze: u64,
}

/// A service cannot be reached for a while; times in milliseconds of the run.
#[derive(Debug, Clone, Copy)]
pub struct Outage {
    /// Which.
    pub service: Service,
    /// From.
    pub from_ms: i64,
    /// Until.
    pub until_ms: i64,
    /// Whether it refuses every call instead of not being there.
    pub refuses: bool,
}

/// What happens on the wire.
#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// By service; a service without an entry has none.
    pub rates: BTreeMap<Service, Rates>,
    /// Only calls of this operation suffer, where one is named.
    pub only: Option<&'static str>,
    /// How long a call takes at most, each way.
    pub latency_ms_max: u64,
    /// Outages.
    pub outages: Vec<Outage>,
}

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Its mode.
    pub mode: Mode,
    /// What comes in.
    pub load: Load,
    /// Whether only the exact amount is credited.
    pub is_exact: bool,
    /// Whether money after the end goes to a person.
    pub late_to_review: bool,
    /// Orders.
    pub orders: u64,
    /// Users of each merchant.
    pub users: u64,
    /// Instances behind the gateway.
    pub instances: u64,
    /// Workers on the settlement queue at once.
    pub workers: u64,
    /// Runs of the poller at once.
    pub pollers: u64,
    /// Within which time orders begin.
    pub arrive_within_ms: u64,
    /// How long the chaos lasts.
    pub chaos_ms: u64,
    /// The longest time limit that clients give their orders, in seconds.
    pub expires_secs_max: u64,
    /// How often an invocation dies somewhere, in thousandths.
    pub crash: u64,
    /// How far an instance's clock is off at most.
    pub skew_ms_max: u64,
    /// After how many receives a settlement message becomes a dead letter, where that is not the template's.
    pub receives_max: Option<u64>,
    /// How often a done message is delivered once more, in thousandths.
    pub redelivery: u64,
    /// How often a message is not deleted although it is done with, in thousandths.
    pub delete_lost: u64,
    /// Whether every merchant has a notification secret.
    pub all_have_secrets: bool,
    /// Whether receivers fail at times.
    pub receivers_fail: bool,
    /// Whether the provider is down, slow or refuses at times.
    pub provider_moods: bool,
    /// Whether the provider of orders answers questions about them: it may not where no poller asks.
    pub can_query: bool,
    /// The weather.
    pub weather: Weather,
}

const SERVICES: [Service; 4] =
    [Service::DynamoDb, Service::Sqs, Service::Secrets, Service::Provider];

/// Operations that may be the only ones to suffer.
const SITES: [&str; 8] = [
    "TransactWriteItems",
    "UpdateItem",
    "PutItem",
    "SendMessage",
    "SendMessageBatch",
    "TraderRechargeorder",
    "OrderList",
    "Query",
];

impl Plan {
    /// Draws a plan for `mode`.
    pub fn draw(mode: Mode, dice: &Dice) -> Plan {
        let burst = mode == Mode::Burst;
        let chaos_ms = dice.between(6, 34) * 60_000;
        Plan {
            mode,
            load: if dice.chance(350) { Load::Money } else { Load::Orders },
            is_exact: dice.chance(500),
            late_to_review: dice.chance(250),
            orders: dice.between(3, 8),
            users: dice.between(1, 4),
            instances: dice.between(1, 3),
            workers: if burst { dice.between(2, 4) } else { dice.between(1, 3) },
            pollers: if burst || dice.chance(400) { 2 } else { 1 },
            arrive_within_ms: if burst { 10_000 } else { chaos_ms / 2 },
            chaos_ms,
            expires_secs_max: *dice.pick(&[300, 600, 1_200]),
            crash: sometimes_up_to(dice, 120),
            skew_ms_max: *dice.pick(&[0, 0, 500, 3_000, 30_000]),
            receives_max: dice.chance(300).then(|| dice.between(1, 4)),
            redelivery: if burst { 300 } else { sometimes_up_to(dice, 200) },
            delete_lost: sometimes_up_to(dice, 100),
            all_have_secrets: dice.chance(950),
            receivers_fail: dice.chance(500),
            provider_moods: dice.chance(400),
            weather: Weather::draw(chaos_ms, dice),
            can_query: mode != Mode::NoPoller || dice.chance(600),
        }
    }
}

impl Weather {
    fn draw(chaos_ms: u64, dice: &Dice) -> Weather {
        let mut weather = Weather {
            latency_ms_max: *dice.pick(&[0, 5, 60, 60, 400, 1_200]),
            only: dice.chance(250).then(|| *dice.pick(&SITES)),
            ..Weather::default()
        };
        for service in SERVICES {
            if dice.chance(600) {
                let up_to = |bound| sometimes_up_to(dice, bound);
                let rates = Rates {
                    request_lost: up_to(120),
                    answer_lost: up_to(120),
                    late: up_to(40),
                    throttle: up_to(150),
                    conflict: up_to(200),
                    crash_before: up_to(40),
                    crash_after: up_to(60),
                    freeze: up_to(15),
                };
                weather.rates.insert(service, rates);
            }
            if dice.chance(120) {
                let from = dice.below(chaos_ms);
                let until = from + dice.between(5_000, 400_000);
                let ms = |ms: u64| i64::try_from(ms).unwrap_or(i64::MAX);
                let (from_ms, until_ms, refuses) = (ms(from), ms(until), dice.chance(400));
                weather.outages.push(Outage { service, from_ms, until_ms, refuses });
            }
        }
        weather
    }
}

/// Nothing in half of the cases.
fn sometimes_up_to(dice: &Dice, bound: u64) -> u64 {
    if dice.chance(500) { 0 } else { dice.between(1, bound) }
}
