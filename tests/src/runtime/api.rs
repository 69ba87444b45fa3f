//! The Lambda Runtime API, as far as a function's process uses it: it asks for the next invocation
//! and posts the answer or the error. Extensions, init errors and streaming are not here.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::sync::{Mutex, mpsc};

/// What a function is asked to do.
#[derive(Debug)]
pub struct Invocation {
    pub request_id: String,
    pub deadline_ms: i64,
    pub function_arn: String,
    pub event: String,
}

/// What it said to the invocation of that name: the answer, or the error.
pub type Outcome = (String, Result<Bytes, Bytes>);

/// The side of the Runtime API that Lambda itself sits on.
#[derive(Debug)]
pub struct RuntimeApi {
    /// `AWS_LAMBDA_RUNTIME_API`.
    pub address: SocketAddr,
    pub invocations: mpsc::Sender<Invocation>,
    pub outcomes: mpsc::Receiver<Outcome>,
}

struct Process {
    invocations: Mutex<mpsc::Receiver<Invocation>>,
    outcomes: mpsc::Sender<Outcome>,
}

impl RuntimeApi {
    /// A Runtime API on a port of its own, in the background.
    pub async fn serve() -> std::io::Result<RuntimeApi> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (invocations, given) = mpsc::channel(1);
        let (answered, outcomes) = mpsc::channel(1);
        let process = Process { invocations: Mutex::new(given), outcomes: answered };
        let router = Router::new()
            .route("/2018-06-01/runtime/invocation/next", get(next))
            .route("/2018-06-01/runtime/invocation/{id}/response", post(response))
            .route("/2018-06-01/runtime/invocation/{id}/error", post(error))
            .with_state(Arc::new(process));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Ok(RuntimeApi { address, invocations, outcomes })
    }
}

/// Waits as long as there is nothing to do, as Lambda does.
async fn next(State(process): State<Arc<Process>>) -> Response {
    let Some(invocation) = process.invocations.lock().await.recv().await else {
        return status(StatusCode::GONE);
    };
    Response::builder()
        .header("content-type", "application/json")
        .header("lambda-runtime-aws-request-id", invocation.request_id)
        .header("lambda-runtime-deadline-ms", invocation.deadline_ms)
        .header("lambda-runtime-invoked-function-arn", invocation.function_arn)
        .header("lambda-runtime-trace-id", "Root=1-6553f100-0123456789abcdef01234567;Sampled=0")
        .body(Body::from(invocation.event))
        .unwrap_or_else(|_| status(StatusCode::INTERNAL_SERVER_ERROR))
}

async fn response(process: State<Arc<Process>>, id: Path<String>, body: Bytes) -> Response {
    hand_over(&process, (id.0, Ok(body))).await
}

async fn error(process: State<Arc<Process>>, id: Path<String>, body: Bytes) -> Response {
    hand_over(&process, (id.0, Err(body))).await
}

async fn hand_over(process: &Process, outcome: Outcome) -> Response {
    status(match process.outcomes.send(outcome).await {
        Ok(()) => StatusCode::ACCEPTED,
        Err(_) => StatusCode::GONE,
    })
}

fn status(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}
