//! The OpenAPI document, made from the types of `body`, the lists of `domain` and the constants of
//! `request`. Only with the feature `openapi`; the functions carry the finished document as a file.

mod errors;
mod events;
mod headers;
mod operations;
mod providers;
mod schemas;
mod words;

#[cfg(test)]
mod tests;

use utoipa::openapi::{InfoBuilder, License, OpenApi, OpenApiBuilder, ServerBuilder};

pub use words::{
    ClientCan, Currency, DeliveryState, EntryKind, ErrorCode, EventType, NextStep, OrderId,
    OrderStatus, ParkReason, PaymentStatus, ProviderSays, Reason, ResendState, ReviewAction,
    ReviewId, ReviewStatus, Situation, StatementKind,
};

use crate::{domain, http};

/// The whole document.
pub fn document() -> OpenApi {
    let mut license = License::new("MIT OR Apache-2.0");
    license.identifier = Some("MIT OR Apache-2.0".to_owned());
    let info = InfoBuilder::new()
        .title("Recharge")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(introduction()))
        .license(Some(license));
    OpenApiBuilder::new()
        .info(info.build())
        .servers(Some([ServerBuilder::new()
            .url("/")
            .description(Some("the host that this document came from"))
            .build()]))
        .paths(operations::paths())
        .components(Some(schemas::components()))
        .tags(Some(operations::tags()))
        .build()
}

/// The document as the file that is checked in.
pub fn text() -> Result<String, serde_json::Error> {
    serde_json::to_string_pretty(&document()).map(|text| format!("{text}\n"))
}

fn introduction() -> String {
    let currency = |currency: &domain::Currency| {
        let exponent = currency.exponent();
        let (code, max) = (currency.code(), currency.order_max_minor());
        let whole = 10i128.checked_pow(exponent).unwrap_or_default();
        format!("| `{code}` | {exponent} | {whole} | {max} |")
    };
    let currencies: Vec<String> = domain::Currency::ALL.iter().map(currency).collect();
    let error = |code: http::ErrorCode| {
        let meaning = errors::meaning(code);
        format!("| `{}` | {} | {meaning} |", code.as_str(), code.status())
    };
    let errors: Vec<String> = http::ErrorCode::ALL.into_iter().map(error).collect();
    include_str!("introduction.md")
        .replace("{currencies}", &currencies.join("\n"))
        .replace("{errors}", &errors.join("\n"))
}
