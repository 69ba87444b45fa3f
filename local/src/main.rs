//! `recharge`: the whole bundle on one machine, the demo, a signing client, and the operator's
//! commands.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use recharge_local::call::{ADMIN_KEYS, API_KEYS, ApiKey, Client};
use recharge_local::operate::{self, Keys, Merchants, Target, UserChange};
use recharge_local::reviews::{self, Decision};
use recharge_local::stack::DEMO_NOTIFICATION_SECRET;
use recharge_local::{demo, exam, out, serve};
use recharge_shared::domain::Mode;

const _: () = assert!(recharge_shared::bug::MAY_SHIP, "built together with tests/simulate");

#[derive(Parser)]
#[command(name = "recharge", about = "The recharge bundle on one machine", version)]
struct Arguments {
    /// Port of the API gateway, 9000; with listen, of the receiver, 4010.
    #[arg(long, global = true)]
    port: Option<u16>,
    /// Port of the AWS protocols (DynamoDB, SQS, Secrets Manager).
    #[arg(long, default_value_t = 9001, global = true)]
    aws_port: u16,
    /// Where call, reviews and resolve go instead of the local stack: https://…
    #[arg(long, global = true, conflicts_with = "port", value_parser = base_url)]
    url: Option<String>,
    /// Where the state is kept.
    #[arg(long, default_value = ".recharge")]
    data: PathBuf,
    /// Let notifications go to http://127.0.0.1:PORT too.
    #[arg(long)]
    allow_loopback_callbacks: bool,
    /// Run in shadow mode: payments are simulated, and nothing is credited.
    #[arg(long)]
    shadow: bool,
    /// Print the functions' metrics.
    #[arg(long)]
    metrics: bool,
    /// Keep nothing.
    #[arg(long, conflicts_with = "data")]
    memory: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Plays the main job in memory, one line a step.
    Demo,
    /// Signs a request, sends it to the running bundle and prints the answer.
    Call {
        /// GET or POST.
        method: String,
        /// The path, with its query.
        path: String,
        /// The body.
        #[arg(default_value = "")]
        body: String,
        /// The idempotency key; a new one for every POST without it.
        #[arg(long)]
        key: Option<String>,
        /// The API key to sign with.
        #[arg(long = "as", default_value = "demo")]
        api_key: String,
        /// Its secret, if it is none of the local stack's own keys.
        #[arg(long)]
        secret: Option<String>,
    },
    /// Shows what waits for a person, as a table.
    Reviews {
        /// Those that are closed, instead of those that are open.
        #[arg(long)]
        closed: bool,
        #[command(flatten)]
        person: Person,
    },
    /// Decides a review.
    Resolve {
        #[command(flatten)]
        decision: Decision,
        #[command(flatten)]
        person: Person,
    },
    /// Takes notifications as a receiver should, and prints a line each.
    Listen {
        /// What they are signed with; two during a rotation. The demo merchant's without this.
        #[arg(long = "secret")]
        secrets: Vec<String>,
    },
    /// Plays against a receiver what happens in practice, and what forgers try, and grades it.
    Exam {
        /// The receiver: http://127.0.0.1:4010/…
        #[arg(value_name = "URL")]
        receiver: String,
        /// The secret that it knows.
        #[arg(long, default_value = DEMO_NOTIFICATION_SECRET)]
        secret: String,
    },
    /// Client keys: list, create, rotate, revoke.
    Keys {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        command: Keys,
    },
    /// Merchants: show, set.
    Merchants {
        #[command(flatten)]
        target: Target,
        #[command(subcommand)]
        command: Merchants,
    },
    /// A merchant's users: suspend, resume, register.
    Users {
        #[command(flatten)]
        target: Target,
        change: UserChange,
        /// Whose user.
        merchant: String,
        /// The user.
        user: String,
    },
}

impl Arguments {
    /// Where a command would go elsewhere than it was told to.
    const fn misdirected(&self) -> Option<&'static str> {
        use Command::{Call, Demo, Exam, Keys, Listen, Merchants, Resolve, Reviews, Users};
        match (&self.command, self.url.is_some(), self.port.is_some()) {
            (Some(Keys { .. } | Merchants { .. } | Users { .. }), true, _) => Some(
                "--url leads to the API, and this command changes table and secrets: use --aws, or --aws-port \
                 for a local stack",
            ),
            (Some(Keys { .. } | Merchants { .. } | Users { .. }), _, true) => Some(
                "--port is the API's, and this command changes table and secrets: use --aws-port",
            ),
            (None | Some(Demo | Exam { .. } | Listen { .. }), true, _) => {
                Some("--url goes with call, reviews and resolve")
            }
            (Some(Demo | Exam { .. }), _, true) => Some("--port says nothing to this command"),
            (None | Some(Call { .. } | Reviews { .. } | Resolve { .. }), ..) => None,
            (Some(_), false, _) => None,
        }
    }
}

/// Who looks or decides.
#[derive(clap::Args)]
struct Person {
    /// The API key to sign with; one with the scope admin.
    #[arg(long = "as", default_value = "admin")]
    api_key: String,
    /// Its secret, if it is none of the local stack's own keys.
    #[arg(long)]
    secret: Option<String>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    if let Some(why) = arguments.misdirected() {
        return fail(why);
    }
    let port = arguments.port.unwrap_or(9000);
    let gateway = || {
        let local = format!("http://127.0.0.1:{port}");
        Client::new(arguments.url.clone().unwrap_or(local))
    };
    let done = runtime.block_on(async {
        match arguments.command {
            None => {
                let dir = (!arguments.memory).then_some(arguments.data);
                let ports = (port, arguments.aws_port);
                let switches = serve::Switches {
                    allow_loopback: arguments.allow_loopback_callbacks,
                    metrics: arguments.metrics,
                    mode: if arguments.shadow { Mode::Shadow } else { Mode::Live },
                };
                serve::run(ports, dir.as_deref(), switches).await
            }
            Some(Command::Demo) => demo::run().await,
            Some(Command::Call { method, path, body, key, api_key, secret }) => {
                let idempotency_key = key.unwrap_or_else(|| fresh_key(&method));
                let api_key = known_key(&api_key, secret.as_deref())?;
                call(&gateway(), (&method, &path), &body, (api_key, &idempotency_key)).await
            }
            Some(Command::Listen { secrets }) => {
                serve::listen_for_notifications(arguments.port.unwrap_or(4010), &secrets).await
            }
            Some(Command::Exam { receiver, secret }) => {
                let (table, passed) = exam::table(&exam::run(&receiver, &secret).await?);
                out::line(&table)?;
                if passed { Ok(()) } else { Err("the receiver has failed".to_owned()) }
            }
            Some(Command::Reviews { closed, person }) => {
                let key = known_key(&person.api_key, person.secret.as_deref())?;
                say(reviews::list(&gateway(), key, closed).await)
            }
            Some(Command::Resolve { decision, person }) => {
                let key = known_key(&person.api_key, person.secret.as_deref())?;
                say(reviews::resolve(&gateway(), key, &decision).await)
            }
            Some(Command::Keys { target, command }) => {
                let deployment = target.open(arguments.aws_port).await?;
                say(operate::keys(&deployment, command).await)
            }
            Some(Command::Merchants { target, command }) => {
                let deployment = target.open(arguments.aws_port).await?;
                say(operate::merchants(&deployment, command).await)
            }
            Some(Command::Users { target, change, merchant, user }) => {
                let deployment = target.open(arguments.aws_port).await?;
                say(operate::user(&deployment, change, (&merchant, &user)).await)
            }
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

/// Signatures say nothing about the host, so requests go over TLS or stay on this machine.
fn base_url(text: &str) -> Result<String, String> {
    let local = ["http://127.0.0.1:", "http://localhost:"].iter().any(|it| text.starts_with(it));
    if !local && !text.starts_with("https://") {
        return Err("it begins with https://".to_owned());
    }
    Ok(text.trim_end_matches('/').to_owned())
}

fn say(text: Result<String, String>) -> Result<(), String> {
    out::line(&text?)
}

fn known_key<'a>(id: &'a str, secret: Option<&'a str>) -> Result<ApiKey<'a>, String> {
    if let Some(secret) = secret {
        return Ok(ApiKey { id, secret, merchant: "" });
    }
    let all = || API_KEYS.into_iter().chain(ADMIN_KEYS);
    let known = || all().map(|key| key.id).collect::<Vec<_>>().join(", ");
    let key = all().find(|key| key.id == id);
    key.ok_or_else(|| {
        format!("unknown API key {id:?}; known are {}, others need --secret", known())
    })
}

fn fail(error: &str) -> ExitCode {
    eprintln!("recharge: {error}");
    ExitCode::FAILURE
}

#[expect(clippy::disallowed_methods, reason = "a key that nobody has used")]
fn fresh_key(method: &str) -> String {
    if method.eq_ignore_ascii_case("POST") {
        format!("call-{:016x}", fastrand::u64(..))
    } else {
        String::new()
    }
}

async fn call(
    client: &Client,
    (method, path): (&str, &str),
    body: &str,
    (key, idempotency_key): (ApiKey<'_>, &str),
) -> Result<(), String> {
    let method = method.to_ascii_uppercase();
    let reply = client.signed(key, (&method, path), body, idempotency_key).await?;
    let replayed = if reply.replayed { " (replayed)" } else { "" };
    out::line(&format!("{}{replayed}", reply.status))?;
    match serde_json::to_string_pretty(&reply.json) {
        Ok(text) if !reply.json.is_null() => out::line(&text)?,
        _ => out::line(&reply.text)?,
    }
    if reply.status < 400 { Ok(()) } else { Err(format!("answered {}", reply.status)) }
}
