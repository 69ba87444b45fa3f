//! What AWS asks for: list prices of us-east-1, arm64, without free tiers and discounts, as of November 2025; look
//! at the pages before relying on them. In 1e-12 dollars, so that every price is a whole number.

/// A price with what it is for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Price {
    /// What is counted.
    pub(crate) what: &'static str,
    /// For one of it, in 1e-12 $.
    pub(crate) pico: u64,
    /// As the price page says it.
    pub(crate) listed: &'static str,
    /// The page.
    pub(crate) page: &'static str,
}

/// Every price that the sheet uses.
pub(crate) const ALL: [Price; 9] = [
    API_REQUEST,
    INVOCATION,
    GB_SECOND,
    WRITE_UNIT,
    READ_UNIT,
    QUEUE_REQUEST,
    LOG_BYTE,
    TRACE,
    TICK,
];

pub(crate) const API_REQUEST: Price = Price {
    what: "HTTP API request",
    pico: 1_000_000,
    listed: "$1.00 per million",
    page: "aws.amazon.com/api-gateway/pricing",
};
pub(crate) const INVOCATION: Price = Price {
    what: "Lambda request",
    pico: 200_000,
    listed: "$0.20 per million",
    page: "aws.amazon.com/lambda/pricing",
};
pub(crate) const GB_SECOND: Price = Price {
    what: "Lambda GB-second, arm64",
    pico: 13_333_400,
    listed: "$0.0000133334",
    page: "aws.amazon.com/lambda/pricing",
};
pub(crate) const WRITE_UNIT: Price = Price {
    what: "DynamoDB write request unit",
    pico: 625_000,
    listed: "$0.625 per million",
    page: "aws.amazon.com/dynamodb/pricing/on-demand",
};
pub(crate) const READ_UNIT: Price = Price {
    what: "DynamoDB read request unit",
    pico: 125_000,
    listed: "$0.125 per million",
    page: "aws.amazon.com/dynamodb/pricing/on-demand",
};
pub(crate) const QUEUE_REQUEST: Price = Price {
    what: "SQS request, standard queue",
    pico: 400_000,
    listed: "$0.40 per million",
    page: "aws.amazon.com/sqs/pricing",
};
pub(crate) const LOG_BYTE: Price = Price {
    what: "CloudWatch Logs byte taken in",
    pico: 500,
    listed: "$0.50 per GB",
    page: "aws.amazon.com/cloudwatch/pricing",
};
pub(crate) const TRACE: Price = Price {
    what: "X-Ray trace recorded",
    pico: 5_000_000,
    listed: "$5.00 per million",
    page: "aws.amazon.com/xray/pricing",
};
pub(crate) const TICK: Price = Price {
    what: "EventBridge Scheduler invocation",
    pico: 1_000_000,
    listed: "$1.00 per million",
    page: "aws.amazon.com/eventbridge/pricing",
};
