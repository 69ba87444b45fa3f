//! The caller by the gateway's JWT authorizer, which has checked the token's signature, issuer, audience
//! and time before the function is called.

use lambda_http::request::RequestContext;
use lambda_http::{Request, RequestExt};

use super::{Caller, Scope};
use crate::domain::MerchantId;
use crate::http::{ApiError, ErrorCode};

/// The merchant of the claim `merchant`, with the scopes of the claim `scope`.
pub(super) fn caller(request: &Request) -> Result<(Caller, Vec<Scope>), ApiError> {
    let missing = || ApiError::new(ErrorCode::Unauthenticated, "send a signature or a token");
    let Some(RequestContext::ApiGatewayV2(context)) = request.request_context_ref() else {
        return Err(missing());
    };
    let jwt = context.authorizer.as_ref().and_then(|authorizer| authorizer.jwt.as_ref());
    let claim = |name: &str| jwt.and_then(|jwt| jwt.claims.get(name)).map(String::as_str);
    let merchant = claim("merchant").and_then(MerchantId::parse).ok_or_else(missing)?;
    let scopes = claim("scope").unwrap_or("").split_ascii_whitespace();
    let scopes = scopes.filter_map(Scope::parse).collect();
    tracing::info!(verified = true, merchant = %merchant, "client token");
    Ok((Caller { merchant, key_id: "jwt".to_owned() }, scopes))
}

#[cfg(test)]
mod tests {
    use lambda_http::request::LambdaRequest;
    use serde_json::json;

    use super::*;

    fn request(claims: Option<serde_json::Value>) -> Request {
        let mut event: serde_json::Value =
            serde_json::from_str(include_str!("../../../events/status-order.json")).unwrap();
        if let Some(claims) = claims {
            event["requestContext"]["authorizer"] =
                json!({"jwt": {"claims": claims, "scopes": null}});
        }
        Request::from(serde_json::from_value::<LambdaRequest>(event).unwrap())
    }

    #[test]
    fn the_claims_name_merchant_and_scopes() {
        let claims = json!({"merchant": "m_a", "scope": "openid recharge:read", "sub": "x"});
        let (caller, scopes) = caller(&request(Some(claims))).unwrap();
        assert_eq!((caller.merchant.as_str(), scopes), ("m_a", vec![Scope::RechargeRead]));
    }

    #[test]
    fn without_a_merchant_nobody_calls() {
        for claims in [None, Some(json!({"sub": "m_a"})), Some(json!({"merchant": "m a"}))] {
            let refused = caller(&request(claims.clone())).unwrap_err();
            assert_eq!(refused.code, ErrorCode::Unauthenticated, "{claims:?}");
        }
    }
}
