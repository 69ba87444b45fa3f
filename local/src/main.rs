//! `recharge`: the whole bundle on one machine, the demo, and a signing client.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use recharge_local::call::{API_KEYS, Client};
use recharge_local::{demo, serve};

#[derive(Parser)]
#[command(name = "recharge", about = "The recharge bundle on one machine", version)]
struct Arguments {
    /// Port of the API gateway.
    #[arg(long, default_value_t = 9000, global = true)]
    port: u16,
    /// Port of the AWS protocols (DynamoDB, SQS, Secrets Manager).
    #[arg(long, default_value_t = 9001)]
    aws_port: u16,
    /// Where the state is kept.
    #[arg(long, default_value = ".recharge")]
    data: PathBuf,
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
    },
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    let done = runtime.block_on(async {
        match arguments.command {
            None => {
                let dir = (!arguments.memory).then_some(arguments.data);
                serve::run(arguments.port, arguments.aws_port, dir.as_deref()).await
            }
            Some(Command::Demo) => demo::run().await,
            Some(Command::Call { method, path, body, key, api_key }) => {
                let idempotency_key = key.unwrap_or_else(|| fresh_key(&method));
                call(arguments.port, (&method, &path), &body, (&api_key, &idempotency_key)).await
            }
        }
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}

fn fail(error: &str) -> ExitCode {
    eprintln!("recharge: {error}");
    ExitCode::FAILURE
}

fn fresh_key(method: &str) -> String {
    if method.eq_ignore_ascii_case("POST") {
        format!("call-{:016x}", fastrand::u64(..))
    } else {
        String::new()
    }
}

async fn call(
    port: u16,
    (method, path): (&str, &str),
    body: &str,
    (api_key, idempotency_key): (&str, &str),
) -> Result<(), String> {
    let known = || API_KEYS.map(|key| key.id).join(", ");
    let key = API_KEYS.into_iter().find(|key| key.id == api_key);
    let key = key.ok_or_else(|| format!("unknown API key {api_key:?}; known are {}", known()))?;
    let client = Client::new(format!("http://127.0.0.1:{port}"));
    let method = method.to_ascii_uppercase();
    let reply = client.signed(key, (&method, path), body, idempotency_key).await?;
    let replayed = if reply.replayed { " (replayed)" } else { "" };
    println!("{}{replayed}", reply.status);
    match serde_json::to_string_pretty(&reply.json) {
        Ok(text) if !reply.json.is_null() => println!("{text}"),
        _ => println!("{}", reply.text),
    }
    if reply.status < 400 { Ok(()) } else { Err(format!("answered {}", reply.status)) }
}
