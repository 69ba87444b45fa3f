//! The ways to providers and to merchants' receivers with faults, numbered together with the AWS calls of the
//! run.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use recharge_local::aws::faults::{Fault, Faults, Service};
use recharge_shared::app::notify::{Deliver, Delivered, Notification};
use recharge_shared::outbound::{Limits, Outbound, OutboundError};

/// `inner` behind the faults of one run.
#[derive(Debug)]
pub struct FaultyOutbound {
    /// Who answers.
    pub inner: Arc<dyn Outbound>,
    /// What happens on the way.
    pub faults: Faults,
}

#[async_trait]
impl Outbound for FaultyOutbound {
    async fn send(
        &self,
        request: Request<Bytes>,
        limits: Limits,
    ) -> Result<Response<Bytes>, OutboundError> {
        let operation = request.uri().path().rsplit('/').next().unwrap_or("").to_owned();
        let (call, fault) = self.faults.next(Service::Provider, &operation);
        match fault {
            Fault::None => {
                let travel = self.faults.travel(&call);
                if tokio::time::timeout(limits.deadline, travel).await.is_err() {
                    self.faults.record(&call, fault, 0);
                    return Err(OutboundError::TimedOut);
                }
                let answered = self.inner.send(request, limits).await;
                let status = answered.as_ref().map_or(0, |answer| answer.status().as_u16());
                self.faults.record(&call, fault, status);
                answered
            }
            Fault::RequestLost => {
                tokio::time::sleep(limits.deadline).await;
                self.faults.record(&call, fault, 0);
                Err(OutboundError::TimedOut)
            }
            Fault::AnswerLost => {
                let _ = self.inner.send(request, limits).await;
                tokio::time::sleep(limits.deadline).await;
                self.faults.record(&call, fault, 0);
                Err(OutboundError::TimedOut)
            }
            Fault::Throttle | Fault::Conflict => {
                self.faults.record(&call, fault, 429);
                let mut refused = Response::new(Bytes::from_static(b"slow down"));
                *refused.status_mut() = StatusCode::TOO_MANY_REQUESTS;
                Ok(refused)
            }
            Fault::CrashBefore | Fault::CrashAfter => {
                if fault == Fault::CrashAfter {
                    let _ = self.inner.send(request, limits).await;
                }
                self.faults.record(&call, fault, 0);
                self.faults.signal_crash();
                std::future::pending().await
            }
        }
    }
}

/// How long nobody answers before a receiver is given up.
const RECEIVER_DEADLINE: Duration = Duration::from_secs(20);

/// `inner` behind the faults of one run.
#[derive(Debug)]
pub struct FaultyWay {
    /// Who answers.
    pub inner: Arc<dyn Deliver>,
    /// What happens on the way.
    pub faults: Faults,
}

#[async_trait]
impl Deliver for FaultyWay {
    async fn deliver(&self, url: &str, notification: &Notification) -> Delivered {
        let (call, fault) = self.faults.next(Service::Receiver, "Deliver");
        self.faults.travel(&call).await;
        let failed = |status: u16, error: &str| Delivered {
            status,
            error: error.to_owned(),
            retry_after: None,
        };
        if matches!(fault, Fault::None | Fault::AnswerLost | Fault::CrashAfter) {
            let delivered = self.inner.deliver(url, notification).await;
            if fault == Fault::None {
                self.faults.record(&call, fault, delivered.status);
                return delivered;
            }
        }
        match fault {
            Fault::Throttle | Fault::Conflict => {
                self.faults.record(&call, fault, 429);
                failed(429, "")
            }
            Fault::CrashBefore | Fault::CrashAfter => {
                self.faults.record(&call, fault, 0);
                self.faults.signal_crash();
                std::future::pending().await
            }
            Fault::None | Fault::RequestLost | Fault::AnswerLost => {
                tokio::time::sleep(RECEIVER_DEADLINE).await;
                self.faults.record(&call, fault, 0);
                failed(0, "timeout")
            }
        }
    }
}
