//! Engine errors as the Docker API tells them: a status and `{"message": …}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use crate::engine::error::{Error, Kind};

/// The body of every refusal.
#[derive(Debug, Serialize, Deserialize)]
pub struct ErrorBody {
    /// The sentence.
    pub message: String,
    /// The exit code of a command that ends with it. Ours; other clients ignore it.
    #[serde(
        rename = "exitCode",
        default = "engine_failure",
        skip_serializing_if = "is_engine_failure"
    )]
    pub exit_code: u8,
}

fn engine_failure() -> u8 {
    125
}

fn is_engine_failure(code: &u8) -> bool {
    *code == engine_failure()
}

impl IntoResponse for Error {
    fn into_response(self) -> Response {
        let status = match self.kind {
            Kind::BadParameter => StatusCode::BAD_REQUEST,
            Kind::Unauthorized => StatusCode::UNAUTHORIZED,
            Kind::Forbidden => StatusCode::FORBIDDEN,
            Kind::NotFound => StatusCode::NOT_FOUND,
            Kind::Conflict => StatusCode::CONFLICT,
            Kind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            // It has no body, by RFC 9110.
            Kind::NotModified => return StatusCode::NOT_MODIFIED.into_response(),
            // A program that is not there or cannot be run is the asker's mistake.
            Kind::System if matches!(self.exit_code, 126 | 127) => StatusCode::BAD_REQUEST,
            Kind::System => StatusCode::INTERNAL_SERVER_ERROR,
        };
        // By this word docker's command line knows that its exit code is 126.
        let message = self.message.replace(": Permission denied", ": permission denied");
        (status, Json(ErrorBody { message, exit_code: self.exit_code })).into_response()
    }
}
