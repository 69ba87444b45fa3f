//! The provider's wire with faults, numbered together with the AWS calls of the run.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use recharge_local::aws::faults::{Fault, Faults, Service};
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
