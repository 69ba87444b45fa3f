//! The errors of the embedded queue service, with the names the SQS wire protocol gives them.

use std::fmt;

use super::super::file::FileError;
use super::super::wire::{JSON_1_0, WireAnswer};

/// What was wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleIsInvalid,
    MessageNotInflight,
    InvalidParameterValue,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidMessageContents,
    MissingParameter,
    EmptyBatchRequest,
    TooManyEntriesInBatchRequest,
    BatchEntryIdsNotDistinct,
    InvalidBatchEntryId,
    BatchRequestTooLong,
    UnsupportedOperation,
    Internal,
}

impl Kind {
    /// The code of the older query protocol, which SDKs match on.
    pub const fn code(self) -> &'static str {
        match self {
            Kind::QueueDoesNotExist => "AWS.SimpleQueueService.NonExistentQueue",
            Kind::QueueNameExists => "QueueAlreadyExists",
            Kind::ReceiptHandleIsInvalid => "ReceiptHandleIsInvalid",
            Kind::MessageNotInflight => "AWS.SimpleQueueService.MessageNotInflight",
            Kind::InvalidParameterValue => "InvalidParameterValue",
            Kind::InvalidAttributeName => "InvalidAttributeName",
            Kind::InvalidAttributeValue => "InvalidAttributeValue",
            Kind::InvalidMessageContents => "InvalidMessageContents",
            Kind::MissingParameter => "MissingParameter",
            Kind::EmptyBatchRequest => "AWS.SimpleQueueService.EmptyBatchRequest",
            Kind::TooManyEntriesInBatchRequest => {
                "AWS.SimpleQueueService.TooManyEntriesInBatchRequest"
            }
            Kind::BatchEntryIdsNotDistinct => "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
            Kind::InvalidBatchEntryId => "AWS.SimpleQueueService.InvalidBatchEntryId",
            Kind::BatchRequestTooLong => "AWS.SimpleQueueService.BatchRequestTooLong",
            Kind::UnsupportedOperation => "AWS.SimpleQueueService.UnsupportedOperation",
            Kind::Internal => "InternalFailure",
        }
    }

    const fn status(self) -> u16 {
        match self {
            Kind::Internal => 500,
            _ => 400,
        }
    }
}

/// A refused request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqsError {
    pub kind: Kind,
    pub message: String,
}

impl SqsError {
    pub fn new(kind: Kind, message: impl Into<String>) -> SqsError {
        SqsError { kind, message: message.into() }
    }

    pub fn invalid(parameter: &str, value: impl fmt::Display, reason: &str) -> SqsError {
        let message =
            format!("Value {value} for parameter {parameter} is invalid. Reason: {reason}");
        SqsError::new(Kind::InvalidParameterValue, message)
    }

    pub fn missing(parameter: &str) -> SqsError {
        let message = format!("The request must contain the parameter {parameter}.");
        SqsError::new(Kind::MissingParameter, message)
    }

    pub fn into_answer(self) -> WireAnswer {
        let side = if self.kind == Kind::Internal { "Receiver" } else { "Sender" };
        let shape = format!("com.amazonaws.sqs#{:?}", self.kind);
        let answer = WireAnswer::error(self.kind.status(), JSON_1_0, &shape, &self.message);
        WireAnswer { query_error: Some(format!("{};{side}", self.kind.code())), ..answer }
    }
}

impl From<FileError> for SqsError {
    fn from(error: FileError) -> SqsError {
        tracing::error!(error = ?error, "the embedded queues cannot write their file");
        SqsError::new(Kind::Internal, "the embedded queues cannot write their file")
    }
}
