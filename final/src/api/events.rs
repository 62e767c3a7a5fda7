//! `/events`.

use std::convert::Infallible;

use axum::body::Body;
use axum::extract::State;
use axum::http::Response;

use super::App;
use super::params::Params;
use crate::engine::error::Result;
use crate::engine::events::{self, Query};
use crate::store::Events;

/// `GET /events`: a line of JSON for each event, as it happens.
pub async fn events(State(app): State<App>, params: Params) -> Result<Response<Body>> {
    let query = Query {
        since: params.text("since").map(events::parse_time).transpose()?,
        until: params.text("until").map(events::parse_time).transpose()?,
        filters: params.filters()?,
    };
    let listener = events::listen(&Events::of(app.root.data()), query)?;
    let stream = futures_util::stream::unfold(listener, |mut listener| async {
        let line = listener.next().await?;
        Some((Ok::<_, Infallible>(line), listener))
    });
    let response = Response::builder().header("Content-Type", "application/json");
    Ok(response.body(Body::from_stream(stream)).expect("a fixed head"))
}
